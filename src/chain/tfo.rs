//! Group `tfo`: TCP Fast Open (RFC 7413), by its own option kind 34 and by the experimental ones.

use super::group::{Facts, Runs, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::tcp_option::{FAST_OPEN_EXPERIMENT, kind, options};
use crate::packet::{Direction, FlowKey, Packet, Tcp, flag};

/// The index of `tfo_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "tfo",
    doc: "TCP Fast Open: cookies, data in the SYN, and its acknowledgment",
    functions: &[
        FunctionDef {
            name: "tfo_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what tfo_extract records",
        },
        FunctionDef {
            name: "tfo_extract",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("tfo_setup"),
            alone: false,
            doc: "records the Fast Open option of SYN and SYN-ACK, the data in the SYN, and what was acknowledged",
        },
    ],
    fields: Tfo::FIELDS,
    usual: true,
    new: |selection| store::<Tfo>(&GROUP, selection),
};

fields! {
    /// Facts of the group `tfo`.
    pub struct Tfo, TfoColumns: Observer;
    "tfo_extract" {
        /// Kind of the Fast Open option in the first forward SYN: 34, or 253 or 254 with the experiment identifier
        /// 0xF989 (RFC 7413, 4.1.1; RFC 6994); NULL if absent.
        tfo_synkind: Option<u8> = (34, 254),
        /// Octets of cookie in it: 0 asks for one; NULL if the option is absent.
        tfo_synclen: Option<u32> = (0, 255),
        /// Sequence number of the first forward SYN; NULL if there was none.
        tfo_seq: Option<u32>,
        /// Octets of data in the first forward SYN; NULL if there was none.
        tfo_dlen: Option<u32>,
        /// Kind of the Fast Open option in the first SYN-ACK; NULL if absent.
        tfo_ackkind: Option<u8> = (34, 254),
        /// Octets of cookie in it; NULL if the option is absent.
        tfo_ackclen: Option<u32> = (0, 255),
        /// Acknowledgment number of the first SYN-ACK: tfo_seq + 1 acknowledges the SYN, the more its data; NULL if none.
        tfo_ack: Option<u32>,
    }
}

impl Facts for Tfo {
    type Row = Self;
    fn row(&self, _: &FlowKey) -> Self {
        self.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let syn = packet.tcp().filter(|tcp| tcp.has(flag::SYN) && runs.function(EXTRACT));
        let Some(tcp) = syn else { return Progress::More };
        match seen.direction {
            Direction::Forward if self.tfo_seq.is_none() => {
                self.tfo_seq = Some(tcp.sequence);
                self.tfo_dlen = Some(tcp.payload);
                (self.tfo_synkind, self.tfo_synclen) = cookie(tcp).unzip();
            }
            Direction::Reverse if self.tfo_ack.is_none() => {
                self.tfo_ack = Some(tcp.acknowledgment);
                (self.tfo_ackkind, self.tfo_ackclen) = cookie(tcp).unzip();
            }
            _ => {}
        }
        Progress::More
    }
}

/// Kind of the Fast Open option and octets of its cookie.
fn cookie(tcp: &Tcp<'_>) -> Option<(u8, u32)> {
    options(tcp.options).find_map(|option| {
        let cookie = match option.kind {
            kind::FAST_OPEN => option.value,
            kind::EXPERIMENT_1 | kind::EXPERIMENT_2 => {
                option.value.strip_prefix(&FAST_OPEN_EXPERIMENT)?
            }
            _ => return None,
        };
        Some((option.kind, u32::try_from(cookie.len()).unwrap_or(u32::MAX)))
    })
}
