//! Several runs at the same time: most of a run is waiting for targets that are silent.

use std::sync::Mutex;
use std::thread;

/// Calls `job` for every item, for `most` of them at the same time; the results are in the order of the items.
pub fn at_once<I: IntoIterator<Item: Send>, R: Send, J: Fn(I::Item) -> R + Sync>(
    most: usize,
    items: I,
    job: J,
) -> Vec<R> {
    let items: Vec<I::Item> = items.into_iter().collect();
    let workers = most.min(items.len());
    let queue = Mutex::new(items.into_iter().enumerate());
    let work = || {
        let mut results = Vec::new();
        loop {
            let next = queue.lock().unwrap().next();
            let Some((place, item)) = next else { return results };
            results.push((place, job(item)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no job panics")).collect()
    });
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
