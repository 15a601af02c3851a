//! The prober's resolver: it knows the name of each kind of host, which has the first address of each family, and no
//! other name.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use mio::net::UdpSocket;
use mio::{Events, Interest, Token};

use super::spec::Spec;
use super::worker::{self, Stop};
use crate::error::{Doing as _, Result};

/// Its address, over UDP.
pub(super) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// The lifetime of an answer in seconds.
const TTL: u32 = 60;

/// Starts answering, in the namespace of the caller.
pub(super) fn start(spec: &Spec, stop: &mut Stop) -> Result<JoinHandle<()>> {
    let doing = || format!("answer for names at {ADDRESS}");
    let (mut poll, stopped) = stop.worker()?;
    let mut socket = UdpSocket::bind(ADDRESS).doing(doing)?;
    poll.registry().register(&mut socket, Token(worker::FIRST), Interest::READABLE).doing(doing)?;
    let names: HashMap<String, (Ipv4Addr, Ipv6Addr)> = spec
        .hosts
        .iter()
        .filter(|host| host.count > 0)
        .map(|host| (format!("{}.", host.name), (host.address_v4(0), host.address_v6(0))))
        .collect();
    let work = move || {
        let mut events = Events::with_capacity(8);
        while !stopped.is_set() {
            let heard =
                worker::poll(&mut poll, &mut events, None).and_then(|()| hear(&socket, &names));
            if let Err(why) = heard {
                log::warn!("lab: answer for names: {why}");
                return;
            }
        }
    };
    thread::Builder::new().name("lab resolver".into()).spawn(work).doing(doing)
}

/// Answers all pending questions.
fn hear(socket: &UdpSocket, names: &HashMap<String, (Ipv4Addr, Ipv6Addr)>) -> io::Result<()> {
    let mut buffer = [0; 1500];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(answer) = answer(&buffer[..length], names) {
                    // The client retries.
                    let _ = socket.send_to(&answer, from);
                }
            }
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            // The ICMP error of a closed port, about an earlier answer.
            Err(why) if why.kind() == ErrorKind::ConnectionRefused => {}
            Err(why) => return Err(why),
        }
    }
}

fn answer(question: &[u8], names: &HashMap<String, (Ipv4Addr, Ipv6Addr)>) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let [query] = question.queries.as_slice() else { return None };
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    match names.get(&query.name().to_ascii().to_lowercase()) {
        Some((v4, v6)) => {
            let data = match query.query_type() {
                RecordType::A => Some(RData::A(rdata::A(*v4))),
                RecordType::AAAA => Some(RData::AAAA(rdata::AAAA(*v6))),
                _ => None,
            };
            if let Some(data) = data {
                answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
            }
        }
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer.add_query(query.clone());
    answer.to_vec().ok()
}
