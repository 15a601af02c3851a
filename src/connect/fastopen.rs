//! Kind `tcp_fastopen`: a connection with data in the SYN (RFC 7413).
//!
//! The data is a small request that any web server answers. The observer reports from the wire whether the SYN
//! carried it and whether the server accepted it; the attempt itself is as for kind `tcp`.
//!
//! # Memory
//!
//! The request, until it is sent; nothing of the answer, as for kind `tcp`.

use super::cost::{Part, segment, stream};
use super::facts::Stage;
use super::http::Request;
use super::kind::KindDef;
use super::machine::{Action, Event, Machine, Peer};
use super::options::{METHOD, Options, Value};
use super::tcp::{self, MOST_BYTES, Tcp};

/// The row of the kind.
pub(super) const KIND: KindDef = KindDef {
    name: "tcp_fastopen",
    doc: "open a TCP connection with data in the SYN (RFC 7413)",
    options: &[],
    memory: 8 << 10,
    early: true,
    start: |options, peer| Ok(Box::new(Fastopen::new(options, peer)?)),
    cost: |_, timeout| {
        let data = segment(timeout, "data", 180, "only if it did not go with the SYN");
        stream(timeout, MOST_BYTES, vec![Part { usual: 0, ..data }])
    },
    ..tcp::BASE
};

/// One connection.
#[derive(Debug)]
pub struct Fastopen {
    tcp: Tcp,
    /// The data still to be sent.
    request: Vec<u8>,
}

impl Fastopen {
    /// A connection to a peer.
    ///
    /// # Errors
    ///
    /// If the target's name is not valid in a request.
    pub(super) fn new(options: &Options, peer: Peer<'_>) -> Result<Self, &'static str> {
        let options = options.clone().with(&METHOD, Value::Word("HEAD"));
        let mut request = Request::new(&options, peer, "http")?.whole_http1();
        request.shrink_to_fit();
        Ok(Self { tcp: Tcp::default(), request })
    }
}

impl Machine for Fastopen {
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
        if event == Event::Connected {
            self.early(out);
        }
        self.tcp.handle(event, out)
    }

    fn stage(&self) -> Stage {
        self.tcp.stage()
    }

    fn early(&mut self, out: &mut Vec<u8>) {
        out.append(&mut std::mem::take(&mut self.request));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::facts::State;
    use crate::connect::machine::Ending;

    fn new() -> Fastopen {
        let peer = Peer { address: [192, 0, 2, 1].into(), port: 80, name: None, random: 0 };
        Fastopen::new(&Options::default(), peer).unwrap()
    }

    #[test]
    fn the_request_is_sent_once_with_the_syn_or_after_the_handshake() {
        for early in [true, false] {
            let (mut machine, mut with_syn, mut later) = (new(), Vec::new(), Vec::new());
            if early {
                machine.early(&mut with_syn);
            }
            assert_eq!(machine.handle(Event::Connected, &mut later), Action::HalfClose);
            let (sent, empty) = if early { (with_syn, later) } else { (later, with_syn) };
            assert!(empty.is_empty());
            let sent = String::from_utf8(sent).unwrap();
            assert!(sent.starts_with("HEAD / HTTP/1.1\r\nHost: 192.0.2.1\r\n"), "{sent}");
            assert!(sent.ends_with("\r\nConnection: close\r\n\r\n"), "{sent}");
            let ok = Ending::new(State::Ok, Stage::Done, None);
            assert_eq!(machine.handle(Event::Data(b"HTTP"), &mut Vec::new()), Action::Wait);
            assert_eq!(machine.handle(Event::PeerClosed, &mut Vec::new()), Action::Close(ok));
        }
    }
}
