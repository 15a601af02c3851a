use super::*;

#[test]
fn codes_are_unique_and_in_order() {
    assert!(CODES.is_sorted_by(|a, b| a.0 < b.0), "{CODES:?}");
}

#[test]
fn a_span_outside_the_text_does_not_panic() {
    let text = "näme = 1\r\n".to_owned();
    for span in [0..0, 2..3, 1..2, 50..60, 3..usize::MAX, 11..11] {
        let diagnostic = Diagnostic {
            code: "E0100",
            span,
            message: "m".into(),
            label: String::new(),
            help: None,
        };
        let origin = "x.toml".to_owned();
        let report = Report::new(origin, text.clone(), vec![diagnostic]);
        assert!(report.render(true).contains("x.toml"));
        assert_eq!(report.json_lines().lines().count(), 1);
    }
}

#[test]
fn an_error_of_a_full_disk_has_a_remedy_whatever_made_it_full() {
    // ENOSPC, EDQUOT, EFBIG, EROFS, EIO; and ENOENT, for which there is none.
    for (number, expected) in [
        (28, Some("make room")),
        (122, Some("quota")),
        (27, Some("RLIMIT_FSIZE")),
        (30, Some("read-only")),
        (5, Some("dmesg")),
        (2, None),
    ] {
        let source = io::Error::from_raw_os_error(number);
        let plain = format!("write x: {source}");
        let text = Error::Os { operation: "write x".into(), source }.to_string();
        match expected {
            Some(part) => assert!(text.starts_with(&plain) && text.contains(part), "{text}"),
            None => assert_eq!(text, plain),
        }
    }
}

#[test]
fn a_source_line_has_no_control_characters() {
    let text = "a = \"x\u{1b}[2J\u{202e}\u{9b}\" # tab\tb\u{85}\r\nc = wrong\r\n".to_owned();
    for wrong in ["wrong", "\u{1b}[2J\u{202e}"] {
        let start = text.find(wrong).unwrap();
        let diagnostic = Diagnostic {
            code: "E0100",
            span: start..start + wrong.len(),
            message: "no `\u{1b}`".into(),
            label: "here\u{7}".into(),
            help: Some("write `\u{202e}`".into()),
        };
        let origin = "x\u{1b}.toml".to_owned();
        let report = Report::new(origin, text.clone(), vec![diagnostic]);
        let shown = report.render(false);
        assert!(shown.chars().all(|c| c == '\n' || is_plain(c)), "{shown:?}");
        for written in ["no `\\u{1b}`", "here\\u{7}", "write `\\u{202e}`", "x\\u{1b}.toml"] {
            assert!(shown.contains(written), "{written}: {shown}");
        }
        let carets = shown.lines().find(|line| line.contains('^')).unwrap();
        let source = shown.lines().find(|line| line.contains(" = ") && !line.contains("help"));
        let expected = lines(wrong);
        let at = source.unwrap().find(expected.as_ref()).unwrap();
        assert_eq!(carets.find('^'), Some(at), "{shown}");
        assert_eq!(carets.matches('^').count(), expected.len(), "{shown}");
    }
}

#[test]
fn places_count_characters_from_one_and_end_after_the_last() {
    let text = "näme = 1\nb = \"ü\"\n".to_owned();
    let report = Report::new("x", text, Vec::new());
    let place = |span| {
        let Place { line, column, end_line, end_column } = report.place(&span);
        [line, column, end_line, end_column]
    };
    assert_eq!(place(0..5), [1, 1, 1, 5]);
    assert_eq!(place(14..18), [2, 5, 2, 8]);
    assert_eq!(place(8..11), [1, 8, 2, 2]);
    assert_eq!(place(19..19), [3, 1, 3, 1]);
    assert_eq!(place(5000..6000), [3, 1, 3, 1]);
}

#[test]
fn only_near_words_are_suggested() {
    assert_eq!(nearest("ecn_cod", ["ecn_code", "basic_flow"]), Some("ecn_code"));
    assert_eq!(nearest("quic", ["ecn_code", "basic_flow"]), None);
    assert_eq!(nearest("okay", ["ok", "error"]), Some("ok"));
    assert_eq!(nearest("OK", ["ok", "error"]), Some("ok"));
    assert_eq!(nearest("", ["ok"]), None);
    assert_eq!(nearest("udp", ["tcp", "http"]), None);
    assert_eq!(nearest("tpc", ["tcp", "http"]), Some("tcp"));
}
