//! Requests to the kernel by netlink(7), in the network namespace of the calling thread.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use netlink_packet_core::{
    DecodeError, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_NOOP, NetlinkBuffer, NetlinkHeader, NlasIterator,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::setsockopt;

/// The header of every message, in bytes.
const HEADER: usize = 16;
/// More than the kernel puts into one datagram.
const BUFFER: usize = 64 << 10;
/// The attribute of an error that says in words what is wrong (`NLMSGERR_ATTR_MSG`).
const WORDS: u16 = 1;
/// How often a list is read again because it changed while it was being read.
const READS: usize = 10;

/// Why the kernel did not do what was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    errno: Errno,
    /// What the kernel says about it, if it says more than the number.
    words: Option<String>,
}

impl Refusal {
    /// Whether the kernel gave this number.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }

    fn malformed(why: impl fmt::Display) -> Self {
        Self { errno: Errno::EBADMSG, words: Some(format!("the kernel's answer: {why}")) }
    }

    /// The error of a message, if it is one: a negative number, then what the number does not say. `skip` octets between
    /// the two are of the request.
    fn read(payload: &[u8], skip: usize) -> Option<Self> {
        let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
        let attributes = payload.get(4 + skip..).unwrap_or_default();
        let words = NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == WORDS);
        let text = words.map(|nla| {
            String::from_utf8_lossy(nla.value()).trim_end_matches('\0').trim().to_owned()
        });
        let words = text.filter(|text| !text.is_empty());
        (code < 0).then(|| Self { errno: Errno::from_raw(code.wrapping_neg()), words })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words.as_deref().unwrap_or(self.errno.desc()))?;
        match self.errno {
            Errno::EPERM => f.write_str(" (needs CAP_NET_ADMIN)"),
            _ => Ok(()),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, words: None }
    }
}

impl From<io::Error> for Refusal {
    fn from(why: io::Error) -> Self {
        Errno::from_raw(why.raw_os_error().unwrap_or_default()).into()
    }
}

/// What the kernel answered.
struct Answer {
    /// The messages, without their headers.
    messages: Vec<Vec<u8>>,
    /// Whether the list changed while it was being read.
    interrupted: bool,
}

/// A socket for requests.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// For requests about routes, rules and interfaces.
    pub fn route() -> Result<Self, Refusal> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// For requests to the families of generic netlink.
    pub fn generic() -> Result<Self, Refusal> {
        Self::open(SockProtocol::NetlinkGeneric)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Refusal> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Errors in words, without the request; lists filtered by the kernel. Older kernels do without (4.12, 4.20).
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            let _ =
                setsockopt::set(socket.as_fd(), libc::SOL_NETLINK, option, &1_u32.to_ne_bytes());
        }
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Has the kernel do something.
    pub fn request(&mut self, kind: u16, flags: u16, body: &impl Emitable) -> Result<(), Refusal> {
        self.exchange(kind, flags | NLM_F_ACK, body).map(drop)
    }

    /// Asks for one thing; the answer is one message.
    pub fn get(&mut self, kind: u16, body: &impl Emitable) -> Result<Vec<u8>, Refusal> {
        let mut answer = self.exchange(kind, NLM_F_ACK, body)?;
        answer.messages.pop().ok_or_else(|| Refusal::malformed("it is empty"))
    }

    /// Asks for a list. It is read again if it changes while it is read.
    pub fn list<T>(
        &mut self,
        kind: u16,
        body: &impl Emitable,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..READS {
            let Answer { messages, interrupted } = self.exchange(kind, NLM_F_DUMP, body)?;
            if !interrupted {
                let read = |message: &Vec<u8>| decode(message).map_err(Refusal::malformed);
                return messages.iter().map(read).collect();
            }
        }
        Err(Refusal { errno: Errno::EAGAIN, words: Some("it changes all the time".into()) })
    }

    fn exchange(&mut self, kind: u16, flags: u16, body: &impl Emitable) -> Result<Answer, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = vec![0; HEADER + body.buffer_len()];
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        header.message_type = kind;
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        header.emit(&mut message);
        body.emit(&mut message[HEADER..]);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
        let mut answer = Answer { messages: Vec::new(), interrupted: false };
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if self.read(length, &mut answer)? {
                return Ok(answer);
            }
        }
    }

    /// Reads one datagram; returns whether the answer is complete.
    fn read(&self, length: usize, answer: &mut Answer) -> Result<bool, Refusal> {
        let mut rest = self.buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(Refusal::malformed)?;
            let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            // The answer to an earlier request that was given up.
            if message.sequence_number() != self.sequence {
                continue;
            }
            answer.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            let payload = message.payload();
            match message.message_type() {
                NLMSG_NOOP => {}
                NLMSG_DONE => return Refusal::read(payload, 0).map_or(Ok(true), Err),
                NLMSG_ERROR => return Refusal::read(payload, HEADER).map_or(Ok(true), Err),
                _ => answer.messages.push(payload.to_vec()),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_words_of_the_kernel() {
        let words = b"FIB table does not exist\0\0\0\0";
        let mut payload = (-libc::ENOENT).to_ne_bytes().to_vec();
        payload.extend(29_u16.to_ne_bytes());
        payload.extend(WORDS.to_ne_bytes());
        payload.extend(words);
        let refusal = Refusal::read(&payload, 0).unwrap();
        assert!(refusal.is(Errno::ENOENT));
        assert_eq!(refusal.to_string(), "FIB table does not exist");
        // After the header of the request.
        payload.splice(4..4, [0; HEADER]);
        assert_eq!(Refusal::read(&payload, HEADER).unwrap().to_string(), refusal.to_string());
        let plain = Refusal::read(&(-libc::EPERM).to_ne_bytes(), HEADER).unwrap();
        assert_eq!(plain.to_string(), "Operation not permitted (needs CAP_NET_ADMIN)");
        assert!(Refusal::read(&0_i32.to_ne_bytes(), HEADER).is_none(), "an acknowledgement");
        for cut in 0..payload.len() {
            Refusal::read(&payload[..cut], HEADER);
        }
    }
}
