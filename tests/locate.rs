//! The search for the hops that change or drop a packet: in a lab with routers that answer once a second, and the same facts
//! from the packets as from the search.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt8Type;
use arrow_schema::Fields;
use etherparse::checksum::Sum16BitWords;
use pathspider::chain::Selection;
use pathspider::field::Timestamp;
use pathspider::lab::Spec;
use pathspider::locate::{Copies, Goal, Limits, Located, Next, Pace, Pair, Phase, Side, Subject};
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::observer::{self, FlowTable};
use pathspider::packet::template::Template;
use pathspider::packet::{Icmp, Link, dissect};
use serde_json::Value;
use support::{namespaces, pathspider};

#[test]
fn routers_that_answer_once_a_second_are_never_asked_more_often() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/own_lab/locate.toml");
    let records = folder.path().join("records.ndjson");
    let mut run = pathspider();
    run.args(["run", "ecn", "--locate", "--quiet", "--lab"])
        .arg(&lab)
        .arg("--output")
        .arg(&records);
    let output = run.env("PATHSPIDER_STATE", folder.path().join("state")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let read = fs::read_to_string(&records).unwrap_or_else(|why| panic!("{why}: {said}"));
    let records: Vec<Value> =
        read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The table holds every label to what the lab states.
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("Every condition agrees with the truth."), "{table}{said}");
    assert_eq!(output.status.code(), Some(0), "{table}{said}");
    assert_eq!(records.len(), 16, "{said}");
    for record in &records {
        let locate = &record["locate"];
        let host = record["target"]["name"].as_str().unwrap();
        let number = |name: &str| locate[name].as_u64().unwrap_or_default();
        let (before, hop) = match host {
            "clean" => {
                assert_eq!(locate["packets"], Value::Null, "{record}");
                continue;
            }
            "refused" => {
                assert_eq!(locate["outcome"], "clean", "{locate}");
                (5, 0)
            }
            "dropped-3-in" => (2, 3),
            _ => (4, 5),
        };
        if hop > 0 {
            assert_eq!(locate["outcome"], "located", "{locate}");
        }
        assert_eq!((number("hop_before"), number("hop")), (before, hop), "{locate}");
        // Every hop answered the baseline each time: none was asked more often than it answers.
        assert_eq!((number("branches"), number("limited")), (1, 0), "{locate}");
        assert!(number("packets") + number("resets") <= 40, "{locate}");
    }
}

/// Measurements that locate a label which is true of nearly every host. That is too many for one router, so which of them are
/// located is not the same in every run.
const OF_ALL_HOSTS: [(&str, &str, bool); 3] = [
    ("mptcp", "mptcp.negotiation.failed", false),
    ("mptcp", "mptcp.negotiation.failed", true),
    ("udpzero", "udpzero.connectivity.broken", true),
];

#[test]
fn the_lab_knows_the_place_of_every_label_that_a_shipped_measurement_locates() {
    let spec = Spec::internet().unwrap();
    let mut hosts = 0;
    for (name, text) in SHIPPED {
        let Some(locate) = Plan::load(name, text, &Fields::empty()).unwrap().locatable else {
            continue;
        };
        for (host, v6) in spec.hosts.iter().flat_map(|host| [(host, false), (host, true)]) {
            let (truth, located) = match v6 {
                false => (&host.truth_v4, &host.located_v4),
                true => (&host.truth_v6, &host.located_v6),
            };
            let labels = truth.get(*name).map(Vec::as_slice).unwrap_or_default();
            let Some((label, subject)) = locate.subjects().find(|(l, _)| labels.contains(l)) else {
                continue;
            };
            let places = located.get(*name).map(Vec::as_slice).unwrap_or_default();
            if OF_ALL_HOSTS.contains(&(name, &label, v6)) && places.is_empty()
                || (host.name == "chain-synproxy-3" && v6)
            {
                continue;
            }
            let has = |word: &str| {
                let start = format!("{subject}.{word}");
                places.iter().filter(|place| place.starts_with(&start)).count()
            };
            let found = [has("location."), has("quote."), has("hop:")];
            let clean = places.contains(&format!("{subject}.location.return_path"));
            let expected = [1, 1, usize::from(!clean)];
            assert_eq!(found, expected, "{name}: {label} of {}: {places:?}", host.name);
            hosts += 1;
        }
    }
    assert!(hosts > 50, "{hosts}");
}

/// A SYN over IPv4 with these ECN flags, from the octets of a header.
fn syn(ecn: bool, source: SocketAddr, target: SocketAddr) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), target.ip()) else { panic!() };
    let mut octets = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    octets.extend(from.octets());
    octets.extend(to.octets());
    octets.extend(source.port().to_be_bytes());
    octets.extend(target.port().to_be_bytes());
    octets.extend([
        0,
        0,
        0,
        7,
        0,
        0,
        0,
        0,
        0x50,
        if ecn { 0xc2 } else { 2 },
        0xfa,
        0xf0,
        0,
        0,
        0,
        0,
    ]);
    octets
}

/// The error of a router that quotes a copy, whose flags the path has perhaps changed.
fn error(router: Ipv4Addr, copy: &[u8], changed: bool) -> Vec<u8> {
    let mut quote = copy.to_vec();
    quote[8] = 1;
    if changed {
        quote[33] &= !0xc0;
    }
    let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
    message.extend(&quote);
    let sum = Sum16BitWords::new().add_slice(&message).ones_complement();
    message[2..4].copy_from_slice(&sum.to_ne_bytes());
    let length = u16::try_from(20 + message.len()).unwrap().to_be_bytes();
    let mut octets = vec![0x45, 0, length[0], length[1], 0, 9, 0, 0, 60, 1, 0, 0];
    octets.extend(router.octets());
    octets.extend(&copy[12..16]);
    octets.extend(message);
    octets
}

/// What the group `hops` saw of the experiment's copies, and what the search found, on a path that clears the flags at a hop.
fn both(at: u8, hops: u8) -> (Located, [Option<u8>; 4]) {
    let raw = Link::from_linktype(101).unwrap();
    let target = SocketAddr::from(([198, 51, 100, 1], 80));
    let source = |side: Side| {
        SocketAddr::from(([192, 0, 2, 1], if side == Side::Zero { 40_000 } else { 40_001 }))
    };
    let template = |ecn: bool| {
        let octets = syn(ecn, source(Side::Zero), target);
        Template::of(&dissect(raw, &octets, Timestamp(0)).unwrap()).unwrap()
    };
    let pair = Arc::new(Pair::new(template(false), template(true)).unwrap());
    let copies =
        |side: Side| Copies::new(pair.clone(), side, (source(side), target), 0x1234_5678_9abc);
    let mut copies = [copies(Side::Zero), copies(Side::One)];
    let selection = Selection::everything();
    let mut table = FlowTable::new(&selection, observer::Limits::default());
    let mut phase = Phase::new(Limits::default(), Pace::default());
    let (goal, answer_ttl) = (Goal::Changed, Some(64 - hops));
    phase.handle_wave([Subject { target: target.ip(), feature: pair.feature(), goal, answer_ttl }]);
    let mut now = Duration::from_secs(1);
    loop {
        let time = |now: Duration| Timestamp(i64::try_from(now.as_nanos()).unwrap());
        match phase.poll(now) {
            Next::Done => break,
            Next::Wait(until) => now = until,
            Next::Send(copy) => {
                let own = &mut copies[usize::from(copy.side == Side::One)];
                let octets = own.build(copy.number, copy.ttl).unwrap();
                table.packet(&dissect(raw, &octets, time(now)).unwrap());
                now += Duration::from_millis(10);
                let Some(ttl) = copy.ttl.filter(|ttl| *ttl <= hops) else {
                    let mut answer = [0; 20];
                    let acknowledged = u32::from_be_bytes(octets[24..28].try_into().unwrap()) + 1;
                    answer[8..12].copy_from_slice(&acknowledged.to_be_bytes());
                    answer[13] = 0x12;
                    let (number, answer) = own.segment(&answer, Some(64 - hops)).unwrap();
                    phase.handle_answer(copy.subject, number, answer, false, now);
                    continue;
                };
                let router = Ipv4Addr::new(203, 0, 113, ttl);
                let changed = copy.side == Side::One && ttl >= at;
                let error = error(router, &octets, changed);
                table.packet(&dissect(raw, &error, time(now)).unwrap());
                let icmp = Icmp::read(&error[20..], router.into()).unwrap();
                let (number, answer) = own.quoted(&icmp, router.into()).unwrap();
                assert_eq!(number, copy.number);
                phase.handle_answer(copy.subject, number, answer, false, now);
            }
        }
    }
    table.flush(|key| key.source.1 == source(Side::One).port());
    let flows = table.take().into_flows();
    let row = flows.keys.iter().position(|key| key.source.1 == 40_001).unwrap();
    let seen = ["hops_flags_same", "hops_flags_changed", "hops_far", "hops_answered"].map(|name| {
        let place = selection.columns().position(|field| field.name() == name).unwrap();
        let column = flows.columns[place].as_primitive::<UInt8Type>();
        (!arrow_array::Array::is_null(column, row)).then(|| column.value(row))
    });
    (phase.located(0), seen)
}

#[test]
fn the_search_and_the_observer_see_the_same() {
    for hops in [2, 5, 9, 16] {
        for at in 1..=hops {
            let (found, seen) = both(at, hops);
            let what = format!("at {at} of {hops}: {found:?}");
            assert_eq!(found.outcome, Some("located"), "{what}");
            assert_eq!(found.hop, Some(at), "{what}");
            let same = found.hop_before.filter(|hop| *hop > 0);
            assert_eq!(seen, [same, found.hop, found.far_one, found.answered_one], "{what}");
        }
    }
}
