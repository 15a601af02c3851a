//! What each host of the lab does to packets, packet by packet.
//!
//! Crafted packets go to every host over both families, and what comes back is written down.
//! The path is seen from where it ends: for the packets to port 9 the router refuses, behind
//! every rule of a host, what is left of them, and its ICMP error quotes it. Other ports are
//! answered by the server. Of a host with a fault on its path only what differs is written from the
//! first host with the same server and no fault, and of that what differs from `plain`; so the file
//! says what a fault does and that it does nothing else.
//!
//! `UPDATE_GOLDENS=1 cargo test --test lab` accepts what is seen now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etherparse::{
    IpNumber, IpSlice, TcpHeader, TcpOptionElement, TcpOptionReadError, TcpSlice, UdpSlice,
};
use pathspider::lab::spec::HostSpec;
use pathspider::lab::{Lab, Spec};

/// The port behind which the router ends the path.
const END: u16 = 9;
/// The first source port; each probe has its own.
const SOURCE: u16 = 20_000;
/// So long nothing may come before it is taken that nothing will.
const QUIET: Duration = Duration::from_millis(700);
/// The hardware addresses of the prober's link.
const FRAME: [u8; 12] = [2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2];

/// Lets the router end each path behind the host's own rules. What passes through user space is
/// left out.
pub fn with_ends(mut spec: Spec) -> Spec {
    for host in &mut spec.hosts {
        host.path.push(format!("th dport {END} reject with icmpx port-unreachable"));
    }
    spec
}

/// A packet to craft.
struct Probe {
    name: &'static str,
    port: u16,
    kind: Kind,
    /// The traffic class: codepoint and ECN.
    class: u8,
    /// The reserved flag of IPv4; such a probe is not for IPv6.
    evil: bool,
}

enum Kind {
    Syn { flags: &'static str, options: &'static [u8], data: &'static [u8] },
    Datagram { checksum: bool, question: &'static [u8] },
}

const MSS: &[u8] = &[2, 4, 5, 0xb4];
const USUAL: &[u8] = &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
const MPTCP: &[u8] = &[2, 4, 5, 0xb4, 30, 4, 1, 1];
const COOKIE: &[u8] = &[2, 4, 5, 0xb4, 34, 2, 1, 1];
const FASTOPEN: &[u8] = &[2, 4, 5, 0xb4, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
const EXPERIMENT: &[u8] = &[2, 4, 5, 0xb4, 253, 4, 0x50, 0x53];
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
/// For the texts of a name with which the answer has this many octets, with EDNS and a buffer of 4096 octets.
const LONG: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x0boctets-1000\0\0\x10\0\x01\
    \0\0\x29\x10\0\0\0\0\0\0\0";
const FRAGMENTED: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x0boctets-2000\0\0\x10\0\x01\
    \0\0\x29\x10\0\0\0\0\0\0\0";

fn probes() -> Vec<Probe> {
    let syn = |name, port, flags, options, data: &'static [u8]| Probe {
        name,
        port,
        kind: Kind::Syn { flags, options, data },
        class: 0,
        evil: false,
    };
    let udp = |name, port, class, checksum| Probe {
        name,
        port,
        kind: Kind::Datagram { checksum, question: QUESTION },
        class,
        evil: false,
    };
    vec![
        syn("path: bare SYN", END, "", &[], b""),
        syn("path: SYN", END, "", MSS, b""),
        syn("path: SYN with ECN", END, "EW", MSS, b""),
        syn("path: SYN with accurate ECN", END, "AEW", MSS, b""),
        syn("path: SYN with usual options", END, "", USUAL, b""),
        syn("path: SYN with MPTCP", END, "", MPTCP, b""),
        syn("path: SYN asking for a cookie", END, "", COOKIE, b""),
        syn("path: SYN with cookie and data", END, "", FASTOPEN, b"data"),
        syn("path: SYN with data", END, "", MSS, b"data"),
        syn("path: SYN with option 253", END, "", EXPERIMENT, b""),
        Probe { class: 46 << 2, ..syn("path: SYN with DSCP 46", END, "", MSS, b"") },
        Probe { evil: true, ..syn("path: SYN with evil bit", END, "", MSS, b"") },
        udp("path: UDP", END, 0, true),
        udp("path: UDP without checksum", END, 0, false),
        udp("path: UDP with ECT(0)", END, 2, true),
        udp("path: UDP with ECT(1)", END, 1, true),
        udp("path: UDP with CE", END, 3, true),
        udp("path: UDP with DSCP 46", END, 46 << 2, true),
        udp("path: UDP with DSCP 8 and ECT(0)", END, 8 << 2 | 2, true),
        Probe { evil: true, ..udp("path: UDP with evil bit", END, 0, true) },
        syn("80: bare SYN", 80, "", &[], b""),
        syn("80: SYN with usual options", 80, "", USUAL, b""),
        syn("80: SYN with ECN", 80, "EW", USUAL, b""),
        Probe { class: 1, ..syn("80: SYN with accurate ECN and ECT(1)", 80, "AEW", MSS, b"") },
        Probe { class: 46 << 2, ..syn("80: SYN with DSCP 46", 80, "", MSS, b"") },
        Probe { evil: true, ..syn("80: SYN with evil bit", 80, "", MSS, b"") },
        syn("80: SYN with MPTCP", 80, "", MPTCP, b""),
        syn("80: SYN asking for a cookie", 80, "", COOKIE, b""),
        syn("443: SYN with usual options", 443, "", USUAL, b""),
        syn("53: SYN with usual options", 53, "", USUAL, b""),
        udp("53: question", 53, 0, true),
        udp("53: question without checksum", 53, 0, false),
        Probe { kind: datagram(LONG), ..udp("53: question for 1000 octets", 53, 0, true) },
        Probe { kind: datagram(FRAGMENTED), ..udp("53: question for 2000 octets", 53, 0, true) },
    ]
}

fn datagram(question: &'static [u8]) -> Kind {
    Kind::Datagram { checksum: true, question }
}

/// What is answered, in words, by address and name of the probe.
type Seen = BTreeMap<(IpAddr, String), String>;

/// Draws every host and holds it to the file.
pub fn check(lab: &Lab, spec: &Spec) {
    let probes = probes();
    keep_the_kernel_out();
    let mut capture = open(lab);
    let mut seen = Seen::new();
    let mut subjects = Vec::new();
    for (host, known) in spec.hosts.iter().zip(lab.hosts()) {
        assert_eq!(host.name, known.name);
        // Counting has its own check, and the first packets would be drawn by chance.
        if host.name.starts_with("lossy") {
            continue;
        }
        for to in [v4(host), v6(host)] {
            for (number, probe) in probes.iter().enumerate() {
                // What is answered late is timed by its own check.
                if (host.delay_ms > 0 && probe.port != END) || (probe.evil && to.is_ipv6()) {
                    continue;
                }
                let packet = probe.packet(to, SOURCE + number as u16);
                send(&mut capture, &packet);
            }
            drain(&mut capture, &probes, &mut seen);
        }
        subjects.push(host);
    }
    let mut last = Instant::now();
    while last.elapsed() < QUIET {
        if drain(&mut capture, &probes, &mut seen) {
            last = Instant::now();
        }
        std::thread::yield_now();
    }
    let lines = |host: &HostSpec, to: IpAddr| {
        let mut lines = Vec::new();
        for probe in probes.iter().filter(|probe| !probe.evil || to.is_ipv4()) {
            for name in [probe.name.to_owned(), format!("{}, then", probe.name)] {
                if name.ends_with("then") && !probe.goes_on() {
                    continue;
                }
                let late = host.delay_ms > 0 && probe.port != END;
                let said = seen.get(&(to, name.clone())).map_or("nothing", String::as_str);
                let said = if late { "later" } else { said };
                lines.push(format!("{name}: {said}"));
            }
        }
        lines
    };
    // Our own rule is the only one.
    let faultless =
        |host: &HostSpec| host.path.len() == 1 && host.path_back.is_empty() && host.delay_ms == 0;
    let mut text = String::new();
    for host in subjects {
        let likes = |other: &&HostSpec| faultless(other) && other.server == host.server;
        let model = match spec.hosts.iter().find(likes) {
            Some(model) if model.name != host.name => model,
            _ => &spec.hosts[0],
        };
        for (family, (to, model_to)) in [(4, (v4(host), v4(model))), (6, (v6(host), v6(model)))] {
            writeln!(text, "[{} over IPv{family}, other than {}]", host.name, model.name).unwrap();
            for (line, usual) in lines(host, to).iter().zip(&lines(model, model_to)) {
                if host.name == model.name || line != usual {
                    writeln!(text, "{line}").unwrap();
                }
            }
            text.push('\n');
        }
    }
    compare(&text);
}

fn v4(host: &HostSpec) -> IpAddr {
    host.address_v4(0).into()
}

fn v6(host: &HostSpec) -> IpAddr {
    host.address_v6(0).into()
}

/// Of any two hundred segments in a row, the lossy paths lose as many as they say, and no datagram.
pub fn losses(lab: &Lab, spec: &Spec) {
    const SENT: u16 = 200;
    let mut capture = open(lab);
    for (name, lost) in [("lossy-1", 2), ("lossy-5", 10)] {
        let host = spec.hosts.iter().find(|host| host.name == name).unwrap();
        for to in [v4(host), v6(host)] {
            for (probe, expected) in [("path: SYN", SENT - lost), ("path: UDP", SENT)] {
                let probe = probes().into_iter().find(|known| known.name == probe).unwrap();
                let mut came = BTreeSet::new();
                for source in SOURCE..SOURCE + SENT {
                    send(&mut capture, &probe.packet(to, source));
                }
                let mut last = Instant::now();
                while last.elapsed() < QUIET / 2 {
                    while let Ok(frame) = capture.next_packet() {
                        if let Some(answer) = Answer::read(&frame.data[14..])
                            && frame.data[..6] == FRAME[6..]
                            && answer.from == to
                        {
                            came.insert(answer.port);
                            last = Instant::now();
                        }
                    }
                    std::thread::yield_now();
                }
                assert_eq!(came.len(), usize::from(expected), "{name} {to} {}", probe.name);
            }
        }
    }
}

fn open(lab: &Lab) -> pcap::Capture<pcap::Active> {
    let capture = pcap::Capture::from_device(lab.interface())
        .unwrap()
        .immediate_mode(true)
        .snaplen(2048)
        .buffer_size(64 << 20);
    capture.open().unwrap().setnonblock().unwrap()
}

fn compare(text: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/portraits.txt");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        // An ordinary user may not; the caller did before.
        std::fs::write(&golden, text).ok();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    let mut host = "";
    for (line, expected) in text.lines().zip(expected.lines()) {
        if line.starts_with('[') {
            host = line;
        }
        assert_eq!(line, expected, "{host}, see {}", golden.display());
    }
    assert_eq!(text.len(), expected.len());
}

/// The kernel knows nothing of these connections and would end them.
fn keep_the_kernel_out() {
    let rules = format!(
        "table inet portrait {{\nchain out {{\ntype filter hook output priority 0;\n\
         tcp sport {SOURCE}-{} tcp flags & rst == rst drop\n}}\n}}\n",
        SOURCE + 1000
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

fn send(capture: &mut pcap::Capture<pcap::Active>, packet: &[u8]) {
    let mut frame = FRAME.to_vec();
    frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend_from_slice(packet);
    capture.sendpacket(frame).unwrap();
}

/// Writes down what came, and says whether something did.
fn drain(capture: &mut pcap::Capture<pcap::Active>, probes: &[Probe], seen: &mut Seen) -> bool {
    let mut frames = Vec::new();
    while let Ok(frame) = capture.next_packet() {
        // Towards us.
        if frame.data[..6] == FRAME[6..] {
            frames.push(frame.data[14..].to_vec());
        }
    }
    let any = !frames.is_empty();
    for packet in frames {
        let Some(answer) = Answer::read(&packet) else { continue };
        // Only the last probe is answered in fragments.
        if answer.port == 0 {
            let name = probes.last().unwrap().name.to_owned();
            let more = format!(", {}", answer.words);
            let said = seen.entry((answer.from, name));
            said.and_modify(|said| said.push_str(&more)).or_insert(answer.words);
            continue;
        }
        let Some(probe) = probes.get(usize::from(answer.port.wrapping_sub(SOURCE))) else {
            continue;
        };
        let mut name = probe.name.to_owned();
        if let (true, Some(tcp)) = (probe.goes_on(), &answer.tcp) {
            if tcp.rst && !seen.contains_key(&(answer.from, name.clone())) {
                // Refused at once.
            } else if tcp.syn {
                let fin = segment(tcp.destination_port, tcp.source_port, |fin| {
                    (fin.ack, fin.fin) = (true, true);
                    fin.sequence_number = tcp.acknowledgment_number;
                    fin.acknowledgment_number = tcp.sequence_number.wrapping_add(1);
                });
                if !seen.contains_key(&(answer.from, name.clone())) {
                    send(capture, &wrap(answer.from, IpNumber::TCP.0, 0, false, fin, true));
                }
            } else {
                name.push_str(", then");
                // Only what could carry a mark.
                if !answer.data && !tcp.rst {
                    continue;
                }
            }
        }
        seen.entry((answer.from, name)).or_insert(answer.words);
    }
    any
}

impl Probe {
    /// Whether the connection is carried on until the server has sent data.
    fn goes_on(&self) -> bool {
        self.name == "80: SYN with ECN"
    }

    fn packet(&self, to: IpAddr, source: u16) -> Vec<u8> {
        match self.kind {
            Kind::Syn { flags, options, data } => {
                let mut inner = segment(source, self.port, |tcp| {
                    tcp.syn = true;
                    tcp.ns = flags.contains('A');
                    tcp.ece = flags.contains('E');
                    tcp.cwr = flags.contains('W');
                    tcp.set_options_raw(options).unwrap();
                });
                inner.extend_from_slice(data);
                wrap(to, IpNumber::TCP.0, self.class, self.evil, inner, true)
            }
            Kind::Datagram { checksum, question } => {
                let length = 8 + question.len() as u16;
                let mut inner = Vec::new();
                for word in [source, self.port, length, 0] {
                    inner.extend(word.to_be_bytes());
                }
                inner.extend_from_slice(question);
                wrap(to, IpNumber::UDP.0, self.class, self.evil, inner, checksum)
            }
        }
    }
}

fn segment(from: u16, to: u16, change: impl FnOnce(&mut TcpHeader)) -> Vec<u8> {
    let mut tcp = TcpHeader::new(from, to, 1000, 64_000);
    change(&mut tcp);
    let mut bytes = Vec::new();
    tcp.write(&mut bytes).unwrap();
    bytes
}

/// Puts an IP header before a segment or datagram, and fills in its checksum.
fn wrap(
    to: IpAddr,
    protocol: u8,
    class: u8,
    evil: bool,
    mut inner: Vec<u8>,
    checksum: bool,
) -> Vec<u8> {
    let length = (inner.len() as u16).to_be_bytes();
    let (mut header, addresses) = match to {
        IpAddr::V4(to) => {
            let total = (inner.len() as u16 + 20).to_be_bytes();
            let flags = if evil { 0xc0 } else { 0x40 };
            let mut header = vec![
                0x45, class, total[0], total[1], 0, 1, flags, 0, 64, protocol, 0, 0, 192, 0, 2, 1,
            ];
            header.extend(to.octets());
            let sum = (!sum(&header)).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            let addresses = header[12..].to_vec();
            (header, addresses)
        }
        IpAddr::V6(to) => {
            let mut header = vec![0x60 | class >> 4, class << 4, 0, 0, length[0], length[1]];
            header.extend([protocol, 64]);
            header.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            header.extend(to.octets());
            let addresses = header[8..].to_vec();
            (header, addresses)
        }
    };
    if checksum {
        let pseudo = [&addresses[..], &[0, protocol], &length, &inner].concat();
        let at = if protocol == IpNumber::TCP.0 { 16 } else { 6 };
        let sum = (!sum(&pseudo)).to_be_bytes();
        inner[at..at + 2].copy_from_slice(&sum);
    }
    header.extend(inner);
    header
}

/// The sum of RFC 1071, not yet inverted.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A packet towards us.
struct Answer {
    /// The host that it is about.
    from: IpAddr,
    /// Our port.
    port: u16,
    words: String,
    tcp: Option<TcpHeader>,
    data: bool,
}

impl Answer {
    fn read(packet: &[u8]) -> Option<Self> {
        let ip = IpSlice::from_slice(packet).ok()?;
        let payload = ip.payload().payload;
        let quote = match ip.payload_ip_number() {
            IpNumber::ICMP | IpNumber::IPV6_ICMP => payload,
            _ => {
                let (port, words, tcp, data) = describe(packet, false)?;
                return Some(Answer { from: ip.source_addr(), port, words, tcp, data });
            }
        };
        let quoted = quote.get(8..)?;
        let (_, words, ..) = describe(quoted, true)?;
        let (from, at) = match quoted[0] >> 4 {
            4 => (IpAddr::from(<[u8; 4]>::try_from(&quoted[16..20]).unwrap()), 20),
            _ => (IpAddr::from(<[u8; 16]>::try_from(&quoted[24..40]).unwrap()), 40),
        };
        let port = u16::from_be_bytes([quoted[at], quoted[at + 1]]);
        let words = format!("ICMP {}/{} on {words}", quote[0], quote[1]);
        Some(Answer { from, port, words, tcp: None, data: false })
    }
}

/// What can be said of a packet: the port that it goes to, all in words, its TCP header, whether
/// it has data.
fn describe(packet: &[u8], quoted: bool) -> Option<(u16, String, Option<TcpHeader>, bool)> {
    let ip = IpSlice::from_slice(packet).ok()?;
    let payload = ip.payload().payload;
    let (class, evil, addresses) = match packet[0] >> 4 {
        4 => (packet[1], packet[6] & 0x80 != 0, &packet[12..20]),
        _ => (packet[0] << 4 | packet[1] >> 4, false, &packet[8..40]),
    };
    let mut words = String::new();
    let protocol = ip.payload_ip_number();
    let (port, tcp, data) = match protocol {
        IpNumber::TCP => {
            let tcp = TcpSlice::from_slice(payload).ok()?;
            for (set, letter) in [
                (tcp.syn(), 'S'),
                (tcp.ack(), '.'),
                (tcp.rst(), 'R'),
                (tcp.ece(), 'E'),
                (tcp.cwr(), 'W'),
                (tcp.ns(), 'A'),
            ] {
                if set {
                    words.push(letter);
                }
            }
            if tcp.syn() {
                for option in tcp.options_iterator() {
                    words += &option_words(option);
                }
            }
            let data = !tcp.payload().is_empty();
            (tcp.destination_port(), Some(tcp.to_header()), data)
        }
        // It has no ports.
        IpNumber::UDP if is_later_fragment(packet) => {
            words += "later fragment";
            (0, None, true)
        }
        IpNumber::UDP => {
            let udp = UdpSlice::from_slice_lax(payload).ok()?;
            words += match udp.checksum() {
                _ if ip.is_fragmenting_payload() => "first fragment",
                0 => "UDP unsummed",
                _ => "UDP",
            };
            (udp.destination_port(), None, true)
        }
        _ => return None,
    };
    if data && tcp.is_some() {
        words += " data";
    }
    match class >> 2 {
        0 => {}
        codepoint => words += &format!(" dscp={codepoint}"),
    }
    words += ["", " ect1", " ect0", " ce"][usize::from(class & 3)];
    if evil {
        words += " evil";
    }
    // Of our own packets the sums are whole; the kernel leaves its own to the hardware.
    if quoted {
        if packet[0] >> 4 == 4 && sum(&packet[..20]) != 0xffff {
            words += " WRONG IP CHECKSUM";
        }
        let length = (payload.len() as u16).to_be_bytes();
        let pseudo = [addresses, &[0, protocol.0], &length, payload].concat();
        if !words.starts_with("UDP unsummed") && sum(&pseudo) != 0xffff {
            words += " WRONG CHECKSUM";
        }
    }
    Some((port, words, tcp, data))
}

fn is_later_fragment(packet: &[u8]) -> bool {
    let at = match packet[0] >> 4 {
        4 => 6,
        _ if packet[6] == IpNumber::IPV6_FRAGMENTATION_HEADER.0 => 42,
        _ => return false,
    };
    let offset = u16::from_be_bytes([packet[at], packet[at + 1]]);
    offset & if at == 6 { 0x1fff } else { 0xfff8 } != 0
}

/// An option without what is different every time.
fn option_words(option: Result<TcpOptionElement, TcpOptionReadError>) -> String {
    match option {
        Ok(TcpOptionElement::Noop) => String::new(),
        Ok(TcpOptionElement::MaximumSegmentSize(size)) => format!(" mss={size}"),
        Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => " sack".to_owned(),
        Ok(TcpOptionElement::Timestamp(..)) => " timestamps".to_owned(),
        Ok(TcpOptionElement::WindowScale(_)) => " scale".to_owned(),
        Ok(other) => format!(" {other:?}"),
        Err(TcpOptionReadError::UnknownId(kind)) => format!(" option={kind}"),
        Err(other) => format!(" {other:?}"),
    }
}
