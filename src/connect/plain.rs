//! Kind `tcp`: a connection, and a request if `request_octets` says how long it is.

use super::cost::{segments, stream};
use super::fastopen::Fastopen;
use super::kind::KindDef;
use super::options::{REQUEST_OCTETS, TFO};
use super::tcp::{self, MOST_BYTES, Tcp};

/// The row of the kind.
pub(super) const KIND: KindDef = KindDef {
    options: &[&TFO, &REQUEST_OCTETS],
    start: |options, peer| match options.request_octets() {
        Some(_) => Ok(Box::new(Fastopen::new(options, peer)?)),
        None => Ok(Box::new(Tcp::default())),
    },
    cost: |options, timeout| {
        let request = options.request_octets().map(|octets| {
            segments(timeout, "request", octets as u64, "as many as the path's MTU needs")
        });
        stream(timeout, MOST_BYTES, request.into_iter().collect())
    },
    ..tcp::BASE
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::kind::start;
    use crate::connect::machine::{Action, Event};
    use crate::connect::options::{Options, Value};
    use crate::connect::testing::peer;

    #[test]
    fn a_request_has_the_octets_that_it_is_given() {
        for octets in [None, Some(1024), Some(1448)] {
            let mut options = Options::default();
            octets.into_iter().for_each(|n| options.set(&REQUEST_OCTETS, Value::Integer(n)));
            let (mut machine, mut out) = (start(&KIND, &options, peer(80, None)), Vec::new());
            assert_eq!(machine.handle(Event::Connected, &mut out), Action::HalfClose);
            assert_eq!(out.len() as i64, octets.unwrap_or_default());
            assert!(octets.is_none() || out.starts_with(b"HEAD / HTTP/1.1\r\n"));
        }
    }
}
