//! Opens a TUN device: the one system call of the lab without a safe wrapper.
#![expect(unsafe_code, reason = "TUNSETIFF is an ioctl that no crate in use wraps")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

nix::ioctl_write_ptr_bad!(
    /// Attaches a descriptor of `/dev/net/tun` to a device.
    set_interface,
    libc::TUNSETIFF,
    libc::ifreq
);

/// Creates the device `name` in the calling thread's network namespace; each read and write of the file, which does
/// not block, is one bare IP packet. The device lives as long as the file.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    let mut ifr_name = [0; libc::IFNAMSIZ];
    // The last octet is reserved for the terminating zero.
    for (to, from) in ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let request =
        libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: the descriptor is open, and `request` is a complete `ifreq` that outlives the
    // call; the kernel reads it and writes the final name back through the pointer's target
    // only as far as the structure goes.
    unsafe { set_interface(file.as_raw_fd(), &raw const request) }.map_err(io::Error::from)?;
    Ok(file)
}
