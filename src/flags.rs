//! Flags: words on a record whose data may be incomplete.
//!
//! A flag is not a verdict. It says that the packets of this target, or its times, may be incomplete, and why; a
//! record without flags is complete as far as the program can know.
//!
//! Imports nothing from this crate.

use std::ops::BitOrAssign;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, ListArray, StringArray,
    builder::{ListBuilder, StringBuilder},
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};

/// The column of a record's flags.
pub const COLUMN: &str = "flags";

/// A reason to assume that something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Flag {
    /// The capture lost packets while the target's wave was in flight.
    CaptureDropped = 1,
    /// The flow table was full and evicted a flow of the target.
    FlowEvicted = 2,
    /// A header was cut short, or contradicts itself.
    ShortPacket = 4,
    /// The system's clock jumped while the target's wave was in flight.
    ClockStep = 8,
    /// The steps of a configuration were not in force all the time.
    NotInForce = 16,
    /// The interface went down, or lost an address, and came back.
    InterfaceChanged = 32,
    /// This process was stopped, or the machine was suspended.
    Paused = 64,
    /// This host was too busy to determine whether a target answered in time.
    Starved = 128,
    /// An answer crossed the interface but did not reach the socket.
    NotDelivered = 256,
    /// The run's outcomes depend on the source ports.
    PortDependent = 512,
    /// A panic of this program ended an attempt or a flow of the target.
    InternalError = 1024,
    /// The socket reported an error that no packet explains.
    UnfoundedError = 2048,
}

impl Flag {
    /// Every flag with its word and its meaning, in record order.
    pub const ALL: [(Flag, &'static str, &'static str); 12] = [
        (
            Flag::CaptureDropped,
            "capture_dropped",
            "the kernel or the interface dropped packets of the capture while the target's wave was in flight",
        ),
        (
            Flag::FlowEvicted,
            "flow_evicted",
            "the flow table was full and completed a flow of the target early",
        ),
        (
            Flag::ShortPacket,
            "short_packet",
            "a packet of the target's flows had a header that was cut short or contradicts itself",
        ),
        (
            Flag::ClockStep,
            "clock_step",
            "the system's clock jumped against the monotonic one while the target's wave was in flight: times of \
             packets and attempts do not fit each other",
        ),
        (
            Flag::NotInForce,
            "not_in_force",
            "another program changed what a configuration had set, and did so again when the wave was repeated: \
             its attempts are `local_error` and nothing is concluded from them",
        ),
        (
            Flag::InterfaceChanged,
            "interface_changed",
            "the interface was down for a while, or lost an address, and was so again when the wave was repeated: \
             the attempts are `local_error` and nothing is concluded from them",
        ),
        (
            Flag::Paused,
            "paused",
            "the program was stopped, or the machine suspended, for five seconds or more, and so again when the wave was \
             repeated: the attempts are `local_error` and nothing is concluded from them",
        ),
        (
            Flag::Starved,
            "starved",
            "this host was too busy to determine whether the target answered in time, and so again when the probe was \
             repeated, twice: the attempt is `local_error` and nothing is concluded from it",
        ),
        (
            Flag::NotDelivered,
            "not_delivered",
            "an answer of the target crossed the interface and did not reach the socket, because of a host firewall, \
             rp_filter or conntrack: the attempt is `local_error` and nothing is concluded from it",
        ),
        (
            Flag::PortDependent,
            "port_dependent",
            "attempts of the run fail far more often from one half of the source ports, and this one did: it is \
             `local_error` and nothing is concluded from it",
        ),
        (
            Flag::InternalError,
            "internal_error",
            "a defect of this program ended an attempt of the target (its `error` is `internal error`), or the observing \
             of a flow (it counts as not observed): nothing is concluded from that attempt",
        ),
        (
            Flag::UnfoundedError,
            "unfounded_error",
            "the end of an attempt does not fit what was sent, so it may be forged, or caused by this host: an error of the \
             socket without an ICMP error or reset that fits, a SYN before the target's answer, or a DNS answer that fits \
             only in part among wrong ones. The attempt is `local_error` and nothing is concluded from it",
        ),
    ];

    /// Whether packets of the target may not all have been seen or read: then something that was not seen may still
    /// have happened.
    pub fn hides_packets(self) -> bool {
        matches!(self, Flag::CaptureDropped | Flag::FlowEvicted | Flag::ShortPacket)
    }

    /// The word in a record.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(flag, ..)| *flag == self).map_or("", |(_, word, _)| word)
    }
}

/// A set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Whether this flag is set.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & flag as u16 != 0
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags that are set, in order.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().map(|(flag, ..)| flag).filter(move |flag| self.has(*flag))
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        Self(flag as u16)
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<T: IntoIterator<Item = Flag>>(flags: T) -> Self {
        Self(flags.into_iter().fold(0, |bits, flag| bits | flag as u16))
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, more: Self) {
        self.0 |= more.0;
    }
}

/// The Arrow field: a list of words, empty if there are no flags.
pub fn field() -> Field {
    Field::new(COLUMN, DataType::List(Arc::new(item())), false)
}

fn item() -> Field {
    Field::new_list_field(DataType::Utf8, false)
}

/// The column, one row per record.
pub fn column(records: &[Flags]) -> ArrayRef {
    // Most often there are none.
    if records.iter().all(|flags| flags.is_empty()) {
        let offsets = OffsetBuffer::new_zeroed(records.len());
        let none = Arc::new(StringArray::new_null(0));
        return Arc::new(ListArray::new(Arc::new(item()), offsets, none, None));
    }
    let mut list = ListBuilder::new(StringBuilder::new()).with_field(item());
    for flags in records {
        flags.iter().for_each(|flag| list.values().append_value(flag.word()));
        list.append(true);
    }
    Arc::new(list.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Array as _, cast::AsArray as _};

    #[test]
    fn flags_are_bits_of_their_own_and_words_in_order() {
        let all: Flags = Flag::ALL.into_iter().map(|(flag, ..)| flag).collect();
        assert_eq!(all.0.count_ones() as usize, Flag::ALL.len());
        let two: Flags = [Flag::ClockStep, Flag::FlowEvicted].into_iter().collect();
        let column = column(&[two, Flags::default()]);
        assert_eq!(column.data_type(), field().data_type());
        let words = column.as_list::<i32>().value(0);
        let words: Vec<_> = words.as_string::<i32>().iter().flatten().collect();
        assert_eq!(words, ["flow_evicted", "clock_step"]);
        assert!(column.as_list::<i32>().value(1).is_empty());
    }
}
