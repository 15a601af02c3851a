//! Input that the user named. Waiting for the peer of a pipe or for its data ends at the first signal.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::descriptor;
use crate::error::{Error, Interrupted};
use crate::signals;

/// A file, a pipe or a terminal that is read from beginning to end.
#[derive(Debug)]
pub struct Input {
    file: File,
    about: Metadata,
}

impl Input {
    /// Opens what the user named. Waits for the peer of a pipe.
    ///
    /// # Errors
    /// As the kernel says; [`Interrupted`] if a signal comes before the peer does.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = match (opened, descriptor(path)) {
            // A descriptor of another user's file, which the caller opened for us.
            (Err(why), Some(number)) => duplicate(number).map_err(|_| why)?,
            (opened, _) => opened?,
        };
        let about = file.metadata()?;
        let input = Self { file, about };
        if input.about.file_type().is_fifo() {
            signals::wait(input.file.as_fd())?;
        }
        if input.waits() {
            fcntl_setfl(&input.file, fcntl_getfl(&input.file)? - OFlags::NONBLOCK)?;
        }
        Ok(input)
    }

    /// Standard input.
    ///
    /// # Errors
    /// If it is closed, or the kernel has no descriptors left.
    pub fn stdin() -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let about = file.metadata()?;
        Ok(Self { file, about })
    }

    /// Its metadata.
    pub fn about(&self) -> &Metadata {
        &self.about
    }

    /// Whether a read may block on a writer.
    fn waits(&self) -> bool {
        !self.about.is_file() && !self.about.is_dir() && !self.about.file_type().is_block_device()
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.waits() {
                signals::wait(self.file.as_fd())?;
            }
            match self.file.read(buffer) {
                // Another process has set our open file description to nonblocking.
                Err(why) if why.kind() == io::ErrorKind::WouldBlock && self.waits() => {}
                other => return other,
            }
        }
    }
}

/// Duplicates a descriptor that this process was started with.
pub(super) fn duplicate(number: i32) -> io::Result<File> {
    let me = pidfd_open(getpid(), PidfdFlags::empty())?;
    let descriptor: OwnedFd = pidfd_getfd(me, number, PidfdGetfdFlags::empty())?;
    Ok(descriptor.into())
}

/// Opens a regular file for reading; never blocks.
///
/// # Errors
/// As the kernel says, and if it is not a regular file.
pub fn regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads all of a text file that the user named.
///
/// # Errors
/// As [`Input::open`], and if it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    Input::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The error for a file that [`regular`] did not open: [`Error::Usage`] if it is not a regular file.
pub fn unreadable(path: &Path, why: io::Error) -> Error {
    let operation = format!("read {}", path.display());
    match why.raw_os_error() {
        Some(_) => Error::Os { operation, source: why },
        None => Error::Usage(format!("{operation}: {why}")),
    }
}

/// The error for unreadable input: [`Error::Usage`] unless a signal came.
pub fn refuse(origin: &str, why: io::Error) -> Error {
    match why.get_ref().is_some_and(|inner| inner.is::<Interrupted>()) {
        true => Error::Os { operation: format!("read {origin}"), source: why },
        false => Error::Usage(format!("read {origin}: {why}")),
    }
}
