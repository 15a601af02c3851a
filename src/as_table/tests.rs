use std::io::Write as _;

use super::*;

fn table(text: &str) -> AsTable {
    AsTable::parse(text.as_bytes()).unwrap()
}

fn origins(table: &AsTable, address: &str) -> Vec<u32> {
    table.origins(address.parse().unwrap()).to_vec()
}

const PFX2AS: &str = "# a comment\n\
    10.0.0.0\t8\t64496\n\
    10.1.0.0\t16\t64497_64498\n\
    10.1.2.0\t24\t{64499,64500}_64499\n\
    10.1.2.0\t25\t64496\n\
    10.255.255.255\t32\t64501\n\
    255.0.0.0\t8\t1.1\n\
    2001:db8::\t32\t64502\n\
    2001:db8:1::\t48\t64503\n\n";

#[test]
fn the_longest_prefix_gives_all_its_origins() {
    let table = table(PFX2AS);
    for (address, expected) in [
        ("9.255.255.255", &[][..]),
        ("10.0.0.0", &[64496]),
        ("10.0.255.255", &[64496]),
        ("10.1.0.0", &[64497, 64498]),
        ("10.1.2.127", &[64496]),
        ("10.1.2.128", &[64499, 64500]),
        ("10.1.3.0", &[64497, 64498]),
        ("10.2.0.0", &[64496]),
        ("10.255.255.254", &[64496]),
        ("10.255.255.255", &[64501]),
        ("11.0.0.0", &[]),
        ("255.255.255.255", &[65537]),
        ("::ffff:10.1.0.1", &[64497, 64498]),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", &[]),
        ("2001:db8::", &[64502]),
        ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", &[64503]),
        ("2001:db8:2::", &[64502]),
        ("2001:db9::", &[]),
    ] {
        assert_eq!(origins(&table, address), expected, "{address}");
    }
    let about = table.about();
    assert_eq!((about.format, about.networks, about.bytes), ("pfx2as", 8, PFX2AS.len() as u64));
    assert_eq!(about.sha256, hex(&Sha256::digest(PFX2AS)));
}

/// Against a search through all networks.
#[test]
fn ranges_are_what_the_networks_say() {
    let mut state = 7_u32;
    let mut random = |end: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % end
    };
    for _ in 0..200 {
        let mut networks: Vec<(u32, u32, u32)> = Vec::new();
        for number in 0..random(40) {
            let length = 24 + random(9);
            let start = (0xffff_ff00 | random(256)) & u32::MAX << (32 - length);
            if !networks.iter().any(|(s, l, _)| (*s, *l) == (start, length)) {
                networks.push((start, length, number));
            }
        }
        let Some(text) = networks
            .iter()
            .map(|(start, length, number)| {
                format!("{}\t{length}\t{number}\n", std::net::Ipv4Addr::from_bits(*start))
            })
            .reduce(|all, line| all + &line)
        else {
            continue;
        };
        let table = table(&text);
        for address in 0xffff_ff00..=u32::MAX {
            let has = |(start, length, _): &&(u32, u32, u32)| {
                u64::from(address ^ *start) >> (32 - length) == 0
            };
            let longest = networks.iter().filter(has).max_by_key(|(_, length, _)| *length);
            let expected: Vec<u32> = longest.map(|(.., number)| *number).into_iter().collect();
            let address = std::net::Ipv4Addr::from_bits(address);
            assert_eq!(table.origins(address.into()), expected, "{address}: {text}");
        }
    }
}

#[test]
fn a_network_of_several_lines_has_the_origins_of_all() {
    let table = table("; pyasn\n192.0.2.0/24\t64496\n192.0.2.0/24 AS64497\n192.0.2.9/24 64496\n");
    assert_eq!(origins(&table, "192.0.2.1"), [64496, 64497]);
    assert_eq!(table.about().format, "pyasn");
    let whole = AsTable::parse(b"0.0.0.0/0 1\n::/0 2\n").unwrap();
    assert_eq!(origins(&whole, "0.0.0.0"), [1]);
    assert_eq!(origins(&whole, "255.255.255.255"), [1]);
    assert_eq!(origins(&whole, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), [2]);
}

#[test]
fn a_compressed_table_has_the_digest_of_its_file() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(PFX2AS.as_bytes()).unwrap();
    let octets = gzip.finish().unwrap();
    let table = AsTable::parse(&octets).unwrap();
    assert_eq!(origins(&table, "10.1.2.200"), [64499, 64500]);
    assert_eq!(table.about().sha256, hex(&Sha256::digest(&octets)));
    let why = AsTable::parse(&octets[..octets.len() / 2]).unwrap_err();
    assert!(why.starts_with("line "), "{why}");
}

#[test]
fn what_is_not_understood_is_an_error() {
    for (text, expected) in [
        ("", "it has no network"),
        ("; nothing\n", "it has no network"),
        ("192.0.2.0\t24\n", "line 1: it is neither"),
        ("192.0.2.0 24 64496 more\n", "line 1: it is neither"),
        ("\n192.0.2.0\t33\t64496\n", "line 2: 192.0.2.0 has no prefix of 33 bits"),
        ("192.0.2.0/24 4294967296\n", "line 1: \"4294967296\" is not an AS number"),
        ("192.0.2.0/24 AS\n", "line 1: \"AS\" is not an AS number"),
        ("example.com/24 1\n", "line 1: it is neither"),
        ("192.0.2.0/24 1\n192.0.3.0\t24\t1\n", "line 2: it is a line of pfx2as"),
        ("ip,asn\n", "line 1: it is neither"),
    ] {
        let why = AsTable::parse(text.as_bytes()).unwrap_err();
        assert!(why.starts_with(expected), "{text:?}: {why}");
    }
    let long = [&b"192.0.2.0/24 "[..], &[b'1'; 70_000]].concat();
    assert_eq!(AsTable::parse(&long).unwrap_err(), "line 1: it is too long");
    assert!(AsTable::parse(b"\xff\xfe\n").unwrap_err().contains("it is not text"));
    let missing = AsTable::open(Path::new("/nowhere/at-all")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/at-all"), "{missing}");
}

/// A MaxMind DB of IPv6 with these records below the first bits `0` and `1` of ::/96, which are IPv4.
fn mmdb(records: [&[u8]; 2]) -> Vec<u8> {
    const NODES: u32 = 97;
    let node =
        |left: u32, right: u32| [&left.to_be_bytes()[1..], &right.to_be_bytes()[1..]].concat();
    let mut octets: Vec<u8> = (1..NODES).flat_map(|next| node(next, NODES)).collect();
    let first = NODES + 16;
    octets.extend(node(first, first + records[0].len() as u32));
    octets.extend([0; 16]);
    records.iter().for_each(|record| octets.extend_from_slice(record));
    octets.extend(b"\xab\xcd\xefMaxMind.com");
    let text = |text: &str| [&[0x40 | text.len() as u8][..], text.as_bytes()].concat();
    let pairs: [(&str, Vec<u8>); 8] = [
        ("node_count", [&[0xc4][..], &NODES.to_be_bytes()].concat()),
        ("record_size", vec![0xa1, 24]),
        ("ip_version", vec![0xa1, 6]),
        ("database_type", text("Test-ASN")),
        ("languages", vec![0x00, 0x04]),
        ("binary_format_major_version", vec![0xa1, 2]),
        ("binary_format_minor_version", vec![0xa1, 0]),
        ("build_epoch", vec![0x01, 0x02, 1]),
    ];
    octets.push(0xe0 | (pairs.len() as u8 + 1));
    for (key, value) in pairs {
        octets.extend(text(key));
        octets.extend(value);
    }
    octets.extend(text("description"));
    octets.push(0xe0);
    octets
}

#[test]
fn a_maxmind_db_is_a_table() {
    let number = b"\xe1\x58autonomous_system_number\xc4\x00\x00\xfb\xf0";
    let text = b"\xe1\x43asn\x47AS64497";
    let table = AsTable::parse(&mmdb([number, text])).unwrap();
    assert_eq!(origins(&table, "1.2.3.4"), [64496]);
    assert_eq!(origins(&table, "200.2.3.4"), [64497]);
    assert_eq!(origins(&table, "2001:db8::1"), [0; 0]);
    assert_eq!((table.about().format, table.about().networks), ("mmdb", 2));
    let other = b"\xe1\x47country\x42DE";
    let why = AsTable::parse(&mmdb([other, other])).unwrap_err();
    assert_eq!(why, "it has no network with an AS number");
    let whole = mmdb([number, text]);
    // Damage is an error or unnoticed, and never a panic.
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 0x5a;
        let _ = AsTable::parse(&octets);
    }
}
