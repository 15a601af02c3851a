//! `packet` in `[connect]`: resolves the words of a crafted packet.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::bounds::{EXPERIMENTS, KIND, LENGTH, SCALE, SIXTEEN, TTL};
use super::checker::Checker;
use super::edns::joined;
use super::file::{Connect, Packet as Written, TcpOption as WrittenOption};
use super::words::Text;
use crate::connect::forge::{self, Answer, Packet, Payload, Protocol, TcpOption, Words};
use crate::connect::options::{PACKET, QNAME};
use crate::connect::query::Query;
use crate::connect::{QUESTIONS, Value, kind};
use crate::packet::tcp_option::kind::EXPERIMENT_1;

/// The most octets of payload, so that it fits one IP packet with all headers.
const PAYLOAD: usize = 65_000;

impl Checker<'_> {
    /// The packet of a configuration: its own keys, and those of `[connect]` that it does not set.
    pub(super) fn packet(
        &mut self,
        base: Option<&Spanned<Written>>,
        own: Option<&Spanned<Written>>,
    ) -> Packet {
        let place = own.or(base).map_or(0..0, Spanned::span);
        let written = merged(base, own);
        let plain = Packet::default();
        let protocol = self.named(written.protocol.as_ref(), "protocol", forge::PROTOCOLS);
        let known = protocol.or(written.protocol.is_none().then_some(plain.protocol));
        if let Some(protocol) = known {
            self.other_protocol(protocol, &written);
        }
        let flags: Vec<u16> = match &written.tcp_flags {
            Some(flags) => {
                let flags = flags.get_ref().iter();
                flags.filter_map(|flag| self.word(flag, "TCP flag", forge::TCP_FLAGS)).collect()
            }
            None => vec![forge::SYN],
        };
        let words: Vec<_> = forge::IP_FLAGS.iter().map(|(name, _)| (*name, *name)).collect();
        let ip_flags = written.ip_flags.iter().flatten();
        let ip_flags: Vec<&str> =
            ip_flags.filter_map(|flag| self.word(flag, "flag of the IP header", &words)).collect();
        let mut packet = Packet {
            protocol: protocol.unwrap_or_default(),
            ttl: self.octet("ttl", written.ttl.as_ref(), &TTL).unwrap_or(plain.ttl),
            dscp: written.dscp.as_ref().and_then(|dscp| self.dscp(dscp)).unwrap_or(plain.dscp),
            ecn: self.named(written.ecn.as_ref(), "ECN codepoint", forge::ECN).unwrap_or(plain.ecn),
            evil: ip_flags.contains(&"evil"),
            dont_fragment: ip_flags.contains(&"df"),
            flags: flags.iter().fold(0, |all, flag| all | flag),
            window: self.sixteen("window", written.window.as_ref()).unwrap_or(plain.window),
            options: self.tcp_options(&written),
            checksum: self
                .named(written.udp_checksum.as_ref(), "UDP checksum", forge::CHECKSUMS)
                .unwrap_or_default(),
            payload: self.payload(&written),
            length: self.length(written.length.as_ref()),
            answer: plain.answer,
        };
        self.fits_its_length(&written, &packet);
        packet.answer = match (&packet.payload, packet.opens()) {
            (Payload::Question(_), _) => Answer::Dns,
            (_, true) => Answer::SynAck,
            (_, false) => Answer::Any,
        };
        if let Some(answer) = self.named(written.answer.as_ref(), "answer", forge::ANSWERS) {
            self.answerable(&written, &packet, answer, place);
            packet.answer = answer;
        }
        packet
    }

    /// Checks that the kind of `[connect]`, or one that a user may choose, sends its packet. Configurations of
    /// other kinds do not count.
    pub(super) fn packet_is_used(&mut self, connect: &Connect) {
        let Some(packet) = &connect.packet else { return };
        let kinds = connect.kind.iter().chain(&connect.kinds);
        let mut rows = kinds.filter_map(|name| kind(name.get_ref()));
        if !rows.any(|row| row.takes(&PACKET)) {
            let message = "this packet is never sent: `packet` is only used by the kind forge";
            let help = "write kind = \"forge\", or kinds = [\"forge\"] to allow it";
            self.mistake("E0217", packet.span(), message, Some(help.into()));
        }
    }

    /// One of some words.
    fn named<T: Copy>(&mut self, written: Option<&Text>, what: &str, words: Words<T>) -> Option<T> {
        let words: Vec<_> = words.iter().map(|(name, thing, _)| (*name, *thing)).collect();
        self.word(written?, what, &words)
    }

    fn octet(
        &mut self,
        name: &str,
        value: Option<&Spanned<i64>>,
        range: &RangeInclusive<i64>,
    ) -> Option<u8> {
        let value = value?;
        self.range(name, value.span(), *value.get_ref(), range)?;
        u8::try_from(*value.get_ref()).ok()
    }

    fn sixteen(&mut self, name: &str, value: Option<&Spanned<i64>>) -> Option<u16> {
        let value = value?;
        self.range(name, value.span(), *value.get_ref(), &SIXTEEN)?;
        u16::try_from(*value.get_ref()).ok()
    }

    fn length(&mut self, value: Option<&Spanned<i64>>) -> Option<u16> {
        let value = value?;
        self.range("length", value.span(), *value.get_ref(), &LENGTH)?;
        u16::try_from(*value.get_ref()).ok()
    }

    /// Checks that a packet can have the length that it is padded to.
    fn fits_its_length(&mut self, written: &Written, packet: &Packet) {
        let (Some(length), Some(place)) = (packet.length, &written.length) else { return };
        if let Payload::Question(Query { edns: None, .. }) = packet.payload {
            let message = "only EDNS can pad a DNS query, and this one has none";
            self.mistake("E0215", place.span(), message, Some("write edns = {}".into()));
            return;
        }
        // The longest name is known only where the file has it.
        let (usual, most) = packet.unpadded();
        let is_known = !matches!(packet.payload, Payload::Question(Query { name: None, .. }));
        let least = if is_known { most } else { usual };
        if u64::from(length) < least {
            let over = if is_known { " over IPv6" } else { "" };
            let message = format!("without padding this packet has {least} octets{over}");
            self.mistake("E0214", place.span(), message, Some(format!("write {least} or more")));
        }
    }

    /// Reports keys that are for packets of another protocol.
    fn other_protocol(&mut self, protocol: Protocol, written: &Written) {
        let keys: [(&str, Option<Range<usize>>, Protocol); 5] = [
            ("tcp_flags", written.tcp_flags.as_ref().map(Spanned::span), Protocol::Tcp),
            ("window", written.window.as_ref().map(Spanned::span), Protocol::Tcp),
            ("tcp_options", written.tcp_options.as_ref().map(Spanned::span), Protocol::Tcp),
            ("udp_checksum", written.udp_checksum.as_ref().map(Spanned::span), Protocol::Udp),
            ("question", written.question.as_ref().map(Spanned::span), Protocol::Udp),
        ];
        for (key, span, wanted) in keys {
            let (Some(span), true) = (span, wanted != protocol) else { continue };
            let name = |protocol| match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            let message = format!("packets of the protocol {} have no `{key}`", name(protocol));
            let help = format!("remove it, or write protocol = \"{}\"", name(wanted));
            self.mistake("E0217", span, message, Some(help));
        }
    }

    fn payload(&mut self, written: &Written) -> Payload {
        let Written { payload, payload_hex, question, .. } = written;
        let mut given: Vec<&Text> =
            [payload, payload_hex, question].into_iter().flatten().collect();
        given.sort_by_key(|text| text.span().start);
        if let [_, .., second] = given.as_slice() {
            let message = "this packet already has another payload";
            let help = "write one of payload, payload_hex and question";
            self.mistake("E0215", second.span(), message, Some(help.into()));
        }
        if let Some(question) = question {
            return self.query(question, written).map_or(Payload::Nothing, Payload::Question);
        }
        let orphans = [written.qname.as_ref().map(|q| ("qname", q.span()))];
        let edns = written.edns.as_ref().map(|edns| ("edns", edns.span()));
        for (key, span) in orphans.into_iter().chain([edns]).flatten() {
            let message = format!("`{key}` is for a DNS query, and this packet has none");
            let help = "write question = \"A\" and protocol = \"udp\", or remove it";
            self.mistake("E0215", span, message, Some(help.into()));
        }
        let bytes = match (payload, payload_hex) {
            (Some(text), _) => Some((text.get_ref().as_bytes().to_vec(), text)),
            (None, Some(hex)) => self.hex(hex).map(|bytes| (bytes, hex)),
            (None, None) => None,
        };
        let Some((bytes, text)) = bytes else { return Payload::Nothing };
        if bytes.len() > PAYLOAD {
            let message = format!("this payload has {} octets", bytes.len());
            let help = format!("an IP packet has room for at most {PAYLOAD}");
            self.mistake("E0214", text.span(), message, Some(help));
        }
        if bytes.is_empty() { Payload::Nothing } else { Payload::Bytes(bytes) }
    }

    fn query(&mut self, question: &Text, written: &Written) -> Option<Query> {
        let words: Vec<_> = QUESTIONS.iter().map(|(name, _)| (*name, *name)).collect();
        let of = self.word(question, "DNS question", &words);
        let name = written.qname.as_ref().map(|name| {
            let text = name.get_ref().clone();
            if let Some((message, help)) = (QNAME.check)(&Value::Text(text.clone())) {
                self.mistake("E0214", name.span(), message, Some(help));
            }
            text
        });
        let edns = self.edns(None, written.edns.as_ref());
        Some(Query { of: of?, name, edns })
    }

    fn hex(&mut self, written: &Text) -> Option<Vec<u8>> {
        let digits: Option<Vec<u8>> = written
            .get_ref()
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
            _ => {
                let is_mark = |c: char| matches!(c, ' ' | ':' | '-' | ',');
                let plain = written.get_ref().replace("0x", "").replace("\\x", "");
                let plain = plain.replace(is_mark, "");
                let is_hex = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_hexdigit());
                let likely = match is_hex && plain.len() % 2 == 0 && plain.len() < 80 {
                    true => plain.as_str(),
                    false => "00ff",
                };
                let help = format!(
                    "write two hexadecimal digits for each octet, without spaces: \"{likely}\""
                );
                let message = "these are not octets";
                self.mistake("E0214", written.span(), message, Some(help));
                None
            }
        }
    }

    fn tcp_options(&mut self, written: &Written) -> Vec<TcpOption> {
        let Some(written) = &written.tcp_options else { return Vec::new() };
        let options = written.get_ref().iter();
        let options: Vec<TcpOption> =
            options.filter_map(|option| self.tcp_option(option)).collect();
        let length = Packet { options: options.clone(), ..Packet::default() }.options_length();
        if length > forge::MOST_OPTIONS {
            let message = format!("these options take {length} octets");
            let help = format!("a TCP header has room for {}", forge::MOST_OPTIONS);
            self.mistake("E0214", written.span(), message, Some(help));
        }
        options
    }

    /// One option; `None` if it is disabled or wrong.
    fn tcp_option(&mut self, written: &Spanned<WrittenOption>) -> Option<TcpOption> {
        let option = written.get_ref();
        let WrittenOption { mss, window_scale, sack_permitted, timestamps, nop, .. } = option;
        let WrittenOption { kind, exid, data, .. } = option;
        let given = [
            mss.is_some(),
            window_scale.is_some(),
            sack_permitted.is_some(),
            timestamps.is_some(),
            nop.is_some(),
            kind.is_some() || exid.is_some(),
        ];
        let given = given.into_iter().filter(|given| *given).count();
        if (given != 1 || (data.is_some() && kind.is_none() && exid.is_none()))
            && !(given == 0 && self.was_removed(&["connect".into()]))
        {
            let help = "write { mss = 1460 }, { window_scale = 7 }, { sack_permitted = true }, \
                        { timestamps = true }, { nop = true }, { kind = 253, data = \"f989\" } or { exid = \"f989\" }";
            let message = "this is not one TCP option";
            self.mistake("E0215", written.span(), message, Some(help.into()));
            return None;
        }
        let of = |kind, data: Vec<u8>| Some(TcpOption { kind, data: Some(data) });
        if mss.is_some() {
            return of(2, self.sixteen("mss", mss.as_ref())?.to_be_bytes().to_vec());
        }
        if window_scale.is_some() {
            return of(3, vec![self.octet("window_scale", window_scale.as_ref(), &SCALE)?]);
        }
        match (sack_permitted, timestamps, nop) {
            (Some(true), ..) => return of(4, Vec::new()),
            (_, Some(true), _) => return of(8, vec![0, 0, 0, 1, 0, 0, 0, 0]),
            (.., Some(true)) => return Some(TcpOption { kind: 1, data: None }),
            _ => {}
        }
        let mut content = Vec::new();
        if let Some(exid) = exid {
            content = self.exid(exid)?;
        }
        if let Some(data) = data {
            content.extend(self.hex(data)?);
        }
        match (kind, exid) {
            // Only a switch that is off has neither.
            (None, None) => None,
            (None, Some(_)) => of(EXPERIMENT_1, content),
            (Some(_), None) => of(self.octet("kind", kind.as_ref(), &KIND)?, content),
            (Some(number), Some(_)) => of(self.octet("kind", Some(number), &EXPERIMENTS)?, content),
        }
    }

    fn exid(&mut self, written: &Text) -> Option<Vec<u8>> {
        let octets = self.hex(written)?;
        if !matches!(octets.len(), 2 | 4) {
            let message = format!("an ExID has two or four octets, not {}", octets.len());
            let help = "write four or eight hexadecimal digits: \"abcd\"";
            self.mistake("E0214", written.span(), message, Some(help.into()));
            return None;
        }
        Some(octets)
    }

    /// Checks that the answer that the packet waits for is possible.
    fn answerable(
        &mut self,
        written: &Written,
        packet: &Packet,
        answer: Answer,
        place: Range<usize>,
    ) {
        let span = written.answer.as_ref().map_or(place, Spanned::span);
        let (message, help) = match answer {
            Answer::Dns if !matches!(packet.payload, Payload::Question(_)) => (
                "this packet is not a DNS query, so no DNS message answers it",
                "write question = \"A\" and protocol = \"udp\", or another answer",
            ),
            Answer::SynAck if !packet.opens() => (
                "`answer = \"syn_ack\"` requires a packet with the SYN flag alone",
                "write answer = \"any\", or remove it",
            ),
            _ => return,
        };
        self.mistake("E0215", span, message, Some(help.into()));
    }
}

/// The keys of both tables; `own` takes precedence.
fn merged(base: Option<&Spanned<Written>>, own: Option<&Spanned<Written>>) -> Written {
    let [base, own] = [base, own].map(|written| written.map(|w| w.get_ref().clone()));
    let (base, own) = (base.unwrap_or_default(), own.unwrap_or_default());
    // A payload replaces the other one, whichever keys they use.
    let carries = own.payload.is_some() || own.payload_hex.is_some() || own.question.is_some();
    let inherited = |text: Option<Text>| text.filter(|_| !carries);
    let has_octets = own.payload.is_some() || own.payload_hex.is_some();
    Written {
        protocol: own.protocol.or(base.protocol),
        ttl: own.ttl.or(base.ttl),
        dscp: own.dscp.or(base.dscp),
        ecn: own.ecn.or(base.ecn),
        ip_flags: own.ip_flags.or(base.ip_flags),
        tcp_flags: own.tcp_flags.or(base.tcp_flags),
        window: own.window.or(base.window),
        tcp_options: own.tcp_options.or(base.tcp_options),
        payload: own.payload.or_else(|| inherited(base.payload)),
        payload_hex: own.payload_hex.or_else(|| inherited(base.payload_hex)),
        question: own.question.or_else(|| inherited(base.question)),
        qname: own.qname.or(base.qname.filter(|_| !has_octets)),
        edns: joined(base.edns.filter(|_| !has_octets), own.edns),
        length: own.length.or(base.length),
        udp_checksum: own.udp_checksum.or(base.udp_checksum),
        answer: own.answer.or(base.answer),
    }
}
