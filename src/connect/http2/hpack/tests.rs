//! The examples of RFC 7541, appendix C, and hostile input.

use super::*;

/// Octets written in hexadecimal, with blanks anywhere.
fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The fields of a block, a line each.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<String, Wrong> {
    let mut lines = Vec::new();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    decoder.decode(block, |name, value| lines.push(format!("{}: {}", text(name), text(value))))?;
    Ok(lines.join("\n"))
}

#[test]
fn integers_of_the_rfc() {
    // C.1, and the largest valid one.
    for (hex, prefix, expected) in [
        ("0a", 5, Ok(10)),
        ("1f 9a 0a", 5, Ok(1337)),
        ("2a", 8, Ok(42)),
        ("ff ff ff ff 7f", 8, Ok((1 << 28) + 254)),
    ] {
        let octets = octets(hex);
        let mut rest = octets.as_slice();
        assert_eq!(integer(&mut rest, prefix), expected, "{hex}");
        assert!(rest.is_empty(), "{hex}");
        let mut written = Vec::new();
        if let Ok(value) = expected {
            write_integer(&mut written, 0, prefix, value);
            assert_eq!(written, octets);
        }
    }
}

#[test]
fn integers_that_do_not_end_or_are_too_large_are_refused() {
    for hex in ["", "1f", "1f 80", "1f ff ff ff ff", "1f ff ff ff ff 7f", "1f 80 80 80 80 00"] {
        assert_eq!(integer(&mut octets(hex).as_slice(), 5), Err(UNDECODABLE), "{hex}");
    }
}

#[test]
fn responses_without_huffman_of_the_rfc() {
    responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
         3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn responses_with_huffman_of_the_rfc() {
    responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

/// C.5 and C.6: three responses with a table of 256 octets, which evicts.
fn responses(blocks: [&str; 3]) {
    let mut decoder = Decoder::default();
    // The size that the examples assume: 256.
    assert_eq!(read(&mut decoder, &octets("3f e1 01")), Ok(String::new()));
    let expected = [
        ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
         location: https://www.example.com",
        ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
         location: https://www.example.com",
        ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
         location: https://www.example.com\ncontent-encoding: gzip\n\
         set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ];
    for ((block, expected), size) in blocks.iter().zip(expected).zip([222, 222, 215]) {
        assert_eq!(read(&mut decoder, &octets(block)).as_deref(), Ok(expected));
        assert_eq!(decoder.size, size);
    }
    assert_eq!(decoder.entries.len(), 3);
}

#[test]
fn a_size_update_is_whole_small_and_at_the_beginning() {
    for (hex, expected) in [
        ("3f", Err(UNDECODABLE)),
        ("3f e1", Err(UNDECODABLE)),
        ("3f e1 1f", Ok("")),
        ("3f e2 1f", Err(UNDECODABLE)),
        ("20 3f e1 1f 88", Ok(":status: 200")),
        ("88 20", Err(UNDECODABLE)),
    ] {
        let read = read(&mut Decoder::default(), &octets(hex));
        assert_eq!(read.as_deref(), expected.as_ref().map(|text| *text), "{hex}");
    }
}

#[test]
fn what_refers_to_nothing_or_is_cut_is_refused() {
    for hex in ["80", "be", "ff 80 01", "7e 00", "40", "40 01", "40 01 61", "48 03 32", "08 82 ff"]
    {
        assert_eq!(read(&mut Decoder::default(), &octets(hex)), Err(UNDECODABLE), "{hex}");
    }
}

#[test]
fn the_table_never_counts_for_more_than_was_agreed_on() {
    let mut decoder = Decoder::default();
    // Entries of many sizes, some larger than the table, one with the name of an entry.
    for size in (0..200).chain([4000, 4063, 4064, 5000, 1]) {
        let mut block = vec![0x40, 1, b'n'];
        write_integer(&mut block, 0, 7, size);
        block.resize(block.len() + size, b'v');
        block.extend([0xbe; 2]);
        // An entry that is too large empties the table, so references to it are invalid.
        let kept = size + 1 + ENTRY <= TABLE;
        assert_eq!(decoder.decode(&block, |_, _| {}).is_ok(), kept, "{size}");
        assert!(decoder.size <= TABLE && decoder.entries.len() <= TABLE / ENTRY);
        let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + ENTRY;
        assert_eq!(decoder.entries.iter().map(size).sum::<usize>(), decoder.size);
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let long = "x".repeat(300);
    let fields = [
        (":method", "GET"),
        (":path", "/p?q"),
        (":authority", "a.example"),
        ("user-agent", long.as_str()),
        ("x-own", ""),
    ];
    let block = encode(fields);
    assert_eq!(block[0], 0x82, "both tables have it");
    let expected = fields.map(|(name, value)| format!("{name}: {value}")).join("\n");
    assert_eq!(read(&mut Decoder::default(), &block), Ok(expected));
}
