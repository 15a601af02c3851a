//! What data files cannot express: long input, bounded memory, and no panic on any input. Everything else is in
//! `tests/targets/`.

use std::fs;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use arrow_array::{Array as _, cast::AsArray as _, types::Int64Type};

use super::*;

fn read(text: impl Into<Vec<u8>>) -> Result<(Reader, Vec<Target>)> {
    let input = Box::new(Cursor::new(text.into()));
    let mut reader = Reader::new(input, Options::default())?;
    let mut targets = Vec::new();
    loop {
        let batch = reader.next_batch(1000)?;
        if batch.is_empty() {
            return Ok((reader, targets));
        }
        targets.extend(batch);
    }
}

/// Repeats a line without having all of it in memory.
struct Repeat {
    line: &'static [u8],
    left: usize,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while self.left > 0 && count < buffer.len() {
            buffer[count] = self.line[self.at];
            count += 1;
            self.at += 1;
            if self.at == self.line.len() {
                self.at = 0;
                self.left -= 1;
            }
        }
        Ok(count)
    }
}

#[test]
fn a_long_list_comes_in_batches() {
    for line in [
        &b"{\"dip\": \"192.0.2.1\", \"dp\": 80, \"rank\": 1, \"list\": \"a\"}\n"[..],
        b"192.0.2.1,80,example.org,1\n",
    ] {
        let input = BufReader::new(Repeat { line, left: 20_000, at: 0 });
        let mut reader = Reader::new(Box::new(input), Options::default()).unwrap();
        let fields = reader.fields();
        let mut sum = 0;
        let mut count = 0;
        loop {
            let batch = reader.next_batch(4096).unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= 4096);
            count += batch.len();
            let array = columns(&fields, &batch).unwrap();
            let rank = array.column_by_name("rank").unwrap().as_primitive::<Int64Type>();
            sum += rank.values().iter().sum::<i64>();
            assert_eq!(array.column_by_name("extra").unwrap().null_count(), batch.len());
        }
        assert_eq!((count, sum), (20_000, 20_000));
        assert_eq!(reader.lines_read(), 20_000);
        assert_eq!(reader.progress().0, 20_000 * line.len() as u64);
        assert_eq!(reader.refusals().count, 0);
    }
}

#[test]
fn an_endless_line_is_one_rejected_line() {
    let endless = Repeat { line: b"x", left: 100 << 20, at: 0 };
    let rest = &b"\n192.0.2.1,80\n"[..];
    let input = BufReader::new(endless.chain(rest));
    let mut reader = Reader::new(Box::new(input), Options::default()).unwrap();
    assert_eq!(reader.next_batch(10).unwrap().len(), 1);
    assert!(reader.next_batch(10).unwrap().is_empty());
    assert_eq!(reader.refusals().count, 1);
    assert_eq!(reader.refusals().first[0].reason, "longer than 1 MiB");
    assert_eq!(reader.lines_read(), 2);
}

#[test]
fn a_line_may_have_exactly_one_mebibyte() {
    let line = |length: usize| {
        let mut line = b"192.0.2.1,80,".to_vec();
        line.resize(length, b'n');
        line
    };
    for end in ["", "\n", "\r\n"] {
        let mut text = line(1 << 20);
        text.extend_from_slice(end.as_bytes());
        let (reader, targets) = read(text).unwrap();
        assert_eq!((reader.refusals().count, targets.len()), (0, 1), "{end:?}");
        let mut text = line((1 << 20) + 1);
        text.extend_from_slice(end.as_bytes());
        let (reader, targets) = read(text).unwrap();
        assert_eq!((reader.refusals().count, targets.len()), (1, 0), "{end:?}");
        assert_eq!(reader.lines_read(), 1);
    }
}

#[test]
fn batches_of_long_lines_are_small() {
    let line: &'static [u8] = {
        let mut line = b"192.0.2.1,80,".to_vec();
        line.resize(1 << 20, b'n');
        line.push(b'\n');
        line.leak()
    };
    let input = BufReader::new(Repeat { line, left: 200, at: 0 });
    let mut reader = Reader::new(Box::new(input), Options::default()).unwrap();
    let mut total = 0;
    loop {
        let batch = reader.next_batch(1000).unwrap();
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= 40, "{} lines of 1 MiB at once", batch.len());
        total += batch.len();
    }
    assert_eq!(total, 200);
}

#[test]
fn only_the_first_rejected_lines_are_kept() {
    let (reader, targets) = read(format!("ip,port\n{}", "nonsense\n".repeat(50))).unwrap();
    assert!(targets.is_empty());
    assert_eq!((reader.refusals().count, reader.refusals().first.len()), (50, 20));
    assert_eq!(reader.refusals().first[19].line, 21);
}

#[test]
fn values_unlike_the_sample_go_into_extra() {
    let mut text = "{\"ip\": \"192.0.2.1\", \"port\": 80, \"rank\": 1}\n".repeat(1000);
    text += "{\"ip\": \"192.0.2.2\", \"port\": 80, \"rank\": \"first\", \"new\": [1, null]}\n";
    let (reader, targets) = read(text).unwrap();
    let last = targets.last().unwrap();
    assert_eq!(last.more, [None]);
    assert_eq!(last.extra.as_deref(), Some(r#"{"rank":"first","new":[1,null]}"#));
    assert_eq!(reader.fields().len(), 5);
}

#[test]
fn thousands_of_keys_do_not_make_thousands_of_columns() {
    let members: Vec<String> = (0..3000).map(|n| format!("\"k{n}\": {n}")).collect();
    let line = format!("{{\"ip\": \"192.0.2.1\", \"port\": 80, {}}}", members.join(", "));
    let (reader, targets) = read(line).unwrap();
    assert_eq!(reader.fields().len(), 4 + 256);
    assert!(targets[0].extra.as_deref().unwrap().ends_with("\"k2999\":2999}"));
}

#[test]
fn a_read_error_names_the_list() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let options = Options { origin: "list.csv".into(), ..Options::default() };
    let error = Reader::new(Box::new(BufReader::new(Broken)), options).unwrap_err();
    assert_eq!(error.to_string(), "read list.csv: the disk is gone");
}

#[test]
fn input_that_is_not_a_list_is_an_error() {
    for text in ["[{\"ip\": \"192.0.2.1\"}]", "[\n{\n\"ip\": \"192.0.2.1\"\n}\n]\n"] {
        let error = read(text).unwrap_err();
        assert!(error.to_string().contains("one object a line"), "{error}");
    }
    let error = Reader::open(Path::new("/nonexistent"), None).unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
    let error = Reader::open(Path::new("/"), None).unwrap_err();
    assert!(error.to_string().contains("a folder"), "{error}");
}

/// A comment, a header, four targets of which one is repeated, a blank line, a bad one.
const MIXED: &str =
    "# list\nip,port\n192.0.2.1,80\n\n192.0.2.2,80\nnonsense,80\n192.0.2.1,80\n192.0.2.3,80\n";

#[test]
fn every_target_is_handed_out_or_counted() {
    let mut everywhere = Vec::new();
    for number in 1..=3 {
        let input = Box::new(Cursor::new(MIXED));
        let mut reader = Reader::new(input, Options::default()).unwrap();
        reader.only(Shard::parse(&format!("{number}/3")).ok());
        reader.skip([5].into_iter().collect());
        let mut positions = Vec::new();
        loop {
            let batch = reader.next_batch(1).unwrap();
            let [target] = batch.as_slice() else { break };
            positions.push(target.position);
        }
        assert_eq!(reader.targets_read(), 5);
        assert_eq!(reader.refusals().total() + positions.len() as u64, 5);
        assert_eq!(reader.refusals().of(Reason::BadLine), 1);
        let (last, vacant) = reader.positions();
        assert_eq!((last, vacant.to_string().as_str()), (8, "1-2,4,6"));
        let digest = reader.digest().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), MIXED).unwrap();
        assert_eq!(file_digest(file.path()).unwrap(), Some(digest));
        everywhere.extend(positions);
    }
    everywhere.sort_unstable();
    assert_eq!(everywhere, [3, 7, 8], "5 is done");
}

#[test]
fn a_line_too_long_belongs_to_the_digest_too() {
    let text = format!("192.0.2.1,80\n{}\n192.0.2.2,80", "x".repeat(3 << 20));
    let (reader, targets) = read(text.clone()).unwrap();
    assert_eq!((targets.len(), reader.refusals().count), (2, 1));
    let mut digest = Digest::default();
    digest.add(text.as_bytes());
    assert_eq!(reader.digest(), Some(digest.text()));
}

#[test]
fn given_targets_come_out_as_they_are() {
    let target = Target::new([192, 0, 2, 1].into(), 80, Some("plain".into()));
    let mut reader = Reader::from_targets(vec![target.clone(); 5]);
    let names: Vec<_> = reader.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["ip", "port", "name", "extra"]);
    let expected = (1..=3).map(|position| Target { position, ..target.clone() });
    assert_eq!(reader.next_batch(3).unwrap(), expected.collect::<Vec<_>>());
    assert_eq!(reader.progress(), (3, Some(5)));
    assert_eq!(reader.next_batch(3).unwrap().len(), 2);
    assert!(reader.next_batch(3).unwrap().is_empty());
}

/// A small deterministic generator (xorshift64*), so that every run tries the same input.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

#[test]
fn no_input_makes_it_panic_and_every_line_is_accounted_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut dice = Dice(0x5EED);
    let bytes = b"\n\r\",{}[]:#\\0e.-\x00\xff\xc3";
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e != "txt")) {
        let whole = fs::read(file).unwrap();
        for _ in 0..80 {
            let mut text = whole.clone();
            for _ in 0..1 + dice.below(8) {
                let at = dice.below(text.len());
                match dice.below(4) {
                    0 => text.truncate(at),
                    1 if !text.is_empty() => drop(text.remove(at)),
                    2 if !text.is_empty() => text[at] = bytes[dice.below(bytes.len())],
                    _ => text.insert(at, bytes[dice.below(bytes.len())]),
                }
            }
            let Ok((reader, targets)) = read(text.clone()) else { continue };
            columns(&reader.fields(), &targets).unwrap();
            // The reader's rule for a significant line, written independently.
            let body = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
            let said = body
                .split(|&byte| byte == b'\n')
                .filter(|line| match std::str::from_utf8(line) {
                    Ok(line) => !line.trim().is_empty() && !line.trim_start().starts_with('#'),
                    Err(_) => true,
                })
                .count() as u64;
            let used = targets.len() as u64 + reader.refusals().count;
            // A header has no target; nor do the brackets of an array and the commas between its lines.
            let between =
                |line: &&[u8]| matches!(line.trim_ascii(), b"[" | b"]" | b"," | b"{finished: 1}");
            let most = 1 + body.split(|&byte| byte == b'\n').filter(between).count() as u64;
            assert!((used..=used + most).contains(&said), "{used} of {said}: {text:?}");
        }
    }
}

/// All targets of a file in the order drawn by a seed, and the reader after the last one.
fn scattered(path: &Path, seed: u64) -> (Vec<Target>, Reader) {
    let mut reader = Reader::open_scattered(path, Some(80), seed).unwrap();
    let mut targets = Vec::new();
    loop {
        let batch = reader.next_batch(7).unwrap();
        if batch.is_empty() {
            return (targets, reader);
        }
        targets.extend(batch);
    }
}

#[test]
fn an_order_changes_nothing_but_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    let mut text = String::from("\u{feff}# a list\n\nip,name,rank\n");
    for n in 0..3000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0800_0000 + n);
        // After the lines from which columns are inferred: one value that does not fit.
        let rank = if n == 2500 { "last".to_owned() } else { n.to_string() };
        text += &format!("{address},host{n},{rank}\r\n");
        if n % 500 == 3 {
            text += "nonsense\n# a comment\n";
        }
    }
    text += "\"";
    text += &"x".repeat(3 << 20);
    text += "\n9.9.9.9,end,7";
    std::fs::write(&path, &text).unwrap();
    let mut listed = Reader::open(&path, Some(80)).unwrap();
    let mut expected = Vec::new();
    loop {
        match listed.next_batch(1000).unwrap() {
            batch if batch.is_empty() => break,
            batch => expected.extend(batch),
        }
    }
    assert_eq!(expected.len(), 3001);
    let (of_seed_1, reader) = scattered(&path, 1);
    assert_eq!(reader.fields(), listed.fields());
    assert_eq!(reader.positions(), listed.positions());
    assert_eq!((reader.digest(), reader.lines_read()), (listed.digest(), listed.lines_read()));
    assert_eq!(reader.refusals().count, listed.refusals().count);
    assert_eq!(reader.progress(), (text.len() as u64, Some(text.len() as u64)));
    assert_eq!(reader.targets_read(), listed.targets_read());
    let in_order = |mut targets: Vec<Target>| {
        targets.sort_by_key(|target| target.position);
        targets
    };
    assert_ne!(of_seed_1, expected);
    assert_eq!(scattered(&path, 1).0, of_seed_1);
    let (of_seed_2, _) = scattered(&path, 2);
    assert_ne!(of_seed_2, of_seed_1);
    assert_eq!(in_order(of_seed_1), expected);
    assert_eq!(in_order(of_seed_2), expected);
}

#[test]
fn a_list_that_changes_while_it_is_read_out_of_order_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    std::fs::write(&path, "8.8.8.1,80\n8.8.8.2,80\n").unwrap();
    let (_, reader) = scattered(&path, 0);
    let mut later = Reader::open_scattered(&path, None, 0).unwrap();
    assert_eq!(later.next_batch(1).unwrap().len(), 1);
    assert_eq!(later.digest(), None);
    std::fs::write(&path, "8.8.8.1,80\n8.8.8.2,80\n8.8.8.3,80\n").unwrap();
    while !later.next_batch(1).unwrap().is_empty() {}
    assert!(later.digest().is_some() && later.digest() != reader.digest());
}

#[test]
fn excluded_targets_are_counted_and_their_positions_known() {
    let list = (0..10).map(|n| Target::new(IpAddr::from([8, 8, 8, n]), 80, None)).collect();
    let mut reader = Reader::from_targets(list);
    reader.scatter(5);
    reader.withhold(Box::new(|target| (target.position > 7).then_some(Reason::Excluded)));
    let batch = reader.next_batch(100).unwrap();
    assert_eq!((batch.len(), reader.refusals().of(Reason::Excluded)), (7, 3));
    assert_eq!(reader.withheld().to_string(), "8-10");
    assert!(!batch.is_sorted_by_key(|target| target.position));
}

#[test]
fn targets_of_aliases_are_rejected_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("massdns.list");
    // More lines than are read before the first target is handed out.
    let mut text = "example.org. A 9.9.9.9\n".repeat(1001);
    for n in 0..1500 {
        let low = n % 250;
        text += &format!("www{n}.example. CNAME cdn{n}.example.\nCDN{n}.example. A 9.9.9.{low}\n");
    }
    std::fs::write(&path, &text).unwrap();
    for seed in 0..3 {
        let (targets, reader) = scattered(&path, seed);
        assert!(targets.iter().all(|target| target.name.as_deref() == Some("example.org")));
        assert_eq!((targets.len(), reader.refusals().count), (1001, 3000), "seed {seed}");
    }
}

#[test]
fn compressed_input_is_rejected_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("top-1m.csv");
    for (start, word) in
        [(b"PK\x03\x04".as_slice(), "unzip"), (b"\x1f\x8b\x08", "gunzip"), (b"PAR1", "Parquet")]
    {
        std::fs::write(&path, start).unwrap();
        let error = Reader::open(&path, None).unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn columns_that_are_fixed_are_written_with_their_type() {
    for right in ["rank:int", " a:b :text", "x:float", "y:bool"] {
        assert!(FixedColumn::parse(right).is_ok(), "{right}");
    }
    for wrong in ["rank", "rank:integer", ":int", "port:int", "IP:text", "extra:text", "name:bool"]
    {
        assert!(FixedColumn::parse(wrong).is_err(), "{wrong}");
    }
}
