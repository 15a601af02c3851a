//! Opens files safely: checks who else may write there and which links are followed, and never blocks for long.
//!
//! * [`Folder`] is an open folder. Names are looked up in that very folder, never through a link, and are regular
//!   files or folders. So renamed folders and planted links and pipes cannot redirect a run.
//! * [`Place`] is where a file that the user named will be: an open folder and a name. It follows a link at that name
//!   as `owner` allows.
//! * [`Log`] is a file, pipe or terminal to which lines are appended.
//! * [`Input`] is input that the user named: a file, a pipe or a terminal.
//!
//! A process of root trusts only root's files: in a folder that others may write to, everything must belong to root.
//! An open that would block (a pipe without a peer) ends at the first signal that ends the command.
//!
//! Imports [`error`](crate::error) and [`signals`](crate::signals).

mod append;
mod folder;
mod input;
mod owner;
mod place;
mod walk;

pub use append::{Log, Opened};
pub use folder::Folder;
pub use input::{Input, read_to_string, refuse, regular, unreadable};
pub use place::{Place, create_new};

use std::ffi::OsStr;
use std::path::Path;

/// The number of the open descriptor that a path refers to (`/dev/fd/3`, `/dev/stdout`).
fn descriptor(path: &Path) -> Option<i32> {
    let number = |text: &OsStr| text.to_str()?.parse::<i32>().ok().filter(|number| *number >= 0);
    let folders = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];
    for (name, number) in [("/dev/stdin", 0), ("/dev/stdout", 1), ("/dev/stderr", 2)] {
        if path == Path::new(name) {
            return Some(number);
        }
    }
    let folder = path.parent()?;
    folders.iter().any(|known| folder == Path::new(known)).then(|| number(path.file_name()?))?
}
