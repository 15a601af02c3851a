//! Sets and reads a socket option by its numbers: the system calls of steps for which no crate has a safe wrapper.
#![expect(unsafe_code, reason = "socket options whose level and name no crate knows")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Sets an option of a socket to these bytes.
pub(crate) fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `length` bytes from `value`, which has
    // this many; it writes nothing.
    let outcome =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option of a socket, at most `most` bytes.
pub(super) fn get(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    most: usize,
) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; most];
    let mut length = libc::socklen_t::try_from(most).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length` bytes to `value`, which
    // has this many, and their number to `length`.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(usize::try_from(length).map_err(io::Error::other)?);
    Ok(value)
}
