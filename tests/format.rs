//! The meaning of the measurement format: params, sweeps, configurations, and overrides of a run.
//! How every key is written is in `tests/format/exhaustive.toml`.

use arrow_schema::{DataType, Fields};
use pathspider::error::Error;
use pathspider::measurement::{Overrides, Plan};
use pathspider::step::{Privilege, Step, Turns};

fn plan(text: &str) -> Plan {
    Plan::load("x.toml", text, &Fields::empty()).unwrap_or_else(|report| panic!("{report}"))
}

fn with(text: &str, set: &[(&str, &str)]) -> Result<Plan, String> {
    let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Plan::load_with("x.toml", text, &Fields::empty(), &Overrides::new(set)) {
        Ok(plan) => Ok(plan),
        Err(Error::Usage(text)) => Err(text),
        Err(other) => Err(format!("in the file: {other}")),
    }
}

const PARAMS: &str = r#"
name = "params"
title = "${word} and ${count}, $${word}"
[params]
timeout = { default = "3s", help = "How long" }
count = { default = 2 }
share = { default = 0.5 }
on = { default = false }
word = { default = "this" }
[config.zero]
[config.one]
steps = [{ sysctl = { "net.ipv4.tcp_ecn" = "${count}", "net.ipv4.tcp_sack" = "${on}" } }]
[connect]
timeout = "${timeout}"
"#;

fn sysctls(plan: &Plan) -> Vec<(&str, &str)> {
    let steps = plan.configs.iter().flat_map(|config| &config.steps);
    let pairs = steps.filter_map(|step| match step {
        Step::Sysctl(step) => Some((step.name.as_str(), step.value.as_str())),
        _ => None,
    });
    pairs.collect()
}

#[test]
fn params_have_the_values_of_the_file_unless_the_user_sets_others() {
    let plain = plan(PARAMS);
    assert_eq!(plain.title, "this and 2, ${word}");
    assert_eq!(plain.timeout.as_secs(), 3);
    // A whole value keeps its type: true and false are written as 1 and 0.
    assert_eq!(sysctls(&plain), [("net.ipv4.tcp_ecn", "2"), ("net.ipv4.tcp_sack", "0")]);
    let set =
        [("count", "1"), ("on", "true"), ("timeout", "250ms"), ("word", "a = b"), ("word", "that")];
    let set = with(PARAMS, &set).unwrap();
    assert_eq!(set.title, "that and 1, ${word}");
    assert_eq!(set.timeout.as_millis(), 250);
    assert_eq!(sysctls(&set), [("net.ipv4.tcp_ecn", "1"), ("net.ipv4.tcp_sack", "1")]);
    let count = set.params.iter().find(|param| param.name == "count").unwrap();
    assert_eq!((count.value.to_string(), count.default.to_string()), ("1".into(), "2".into()));
    assert_eq!(set.params[0].help, "How long");
}

#[test]
fn a_value_that_cannot_be_set_is_named() {
    for (name, value, expected) in [
        ("cuont", "1", "there is no param cuont; did you mean `count`?"),
        (
            "quic",
            "1",
            "there is no param quic; the measurement has timeout, count, share, on, word",
        ),
        ("count", "many", "count is of type integer, as its default 2"),
        ("count", "1.5", "count is of type integer"),
        ("count", "99999999999999999999", "count is of type integer"),
        ("on", "yes", "on is of type boolean, as its default false"),
        ("share", "half", "share is of type float"),
        ("timeout", "soon", "timeout=soon: `soon` is not a duration"),
    ] {
        let said = with(PARAMS, &[(name, value)]).unwrap_err();
        assert!(said.contains(expected), "{name}={value}: {said}");
    }
    assert!(with(PARAMS, &[("share", "1")]).is_ok());
    assert!(
        with("name = 'x'\n[config.zero]", &[("x", "1")]).unwrap_err().contains("has no params")
    );
    assert_eq!(Overrides::assignment(" a =b=c").unwrap(), ("a".into(), "b=c".into()));
    assert!(Overrides::assignment("a").is_err() && Overrides::assignment("=b").is_err());
}

const SWEEP: &str = r#"
name = "sweep"
[config.zero]
[config.one]
title = "DSCP ${codepoint}"
sweep = { codepoint = [1, 10, 46] }
steps = [{ netfilter = { rule = "dscp set ${codepoint}" } }]
[observer]
use = ["basic", "tcp"]
[[conditions]]
name = "dscp.${codepoint}.connectivity"
compare = "ok"
[[conditions]]
name = "dscp.${codepoint}.seen"
given = "one.tcp_connected"
first_of = [{ is = "yes", when = "one.codepoint = ${codepoint} AND zero.ok" }, { is = "no" }]
[[conditions]]
name = "dscp.first"
compare = "ok"
"#;

#[test]
fn a_sweep_becomes_configurations_and_conditions() {
    let plan = plan(SWEEP);
    let configs: Vec<_> =
        plan.configs.iter().map(|config| (config.name, config.title.as_str())).collect();
    assert_eq!(
        configs,
        [("zero", "zero"), ("one", "DSCP 1"), ("two", "DSCP 10"), ("three", "DSCP 46")]
    );
    assert!(plan.configs[3].steps[0].describe().ends_with("dscp set 46"));
    let names: Vec<String> = plan.expanded_sql().into_iter().map(|(name, _)| name).collect();
    let expected = ["dscp.1.connectivity", "dscp.10.connectivity", "dscp.46.connectivity"];
    assert_eq!(names[..3], expected);
    assert_eq!(names[3..], ["dscp.1.seen", "dscp.10.seen", "dscp.46.seen", "dscp.first"]);
    let sql = plan.expanded_sql();
    assert!(sql[2].1.contains("zero.answer = three.answer"), "{}", sql[2].1);
    assert!(sql[4].1.contains("two.codepoint = 10 AND zero.ok"), "{}", sql[4].1);
    assert!(sql[6].1.contains("one.ok"), "{}", sql[6].1);
    let schema = plan.record_schema(&Fields::empty());
    let columns = |name: &str| match schema.field_with_name(name).unwrap().data_type() {
        DataType::Struct(fields) => fields.find("codepoint").map(|(_, f)| f.data_type().clone()),
        _ => None,
    };
    assert_eq!((columns("zero"), columns("three")), (None, Some(DataType::Int64)));
}

#[test]
fn several_swept_names_are_combined() {
    let text = SWEEP.replace("[1, 10, 46] }", "[1, 2], ttl = [5, 64] }");
    let text = text.replace("dscp.${codepoint}", "x.${codepoint}.${ttl}");
    let configs = plan(&text).configs;
    let points: Vec<String> = configs[1..]
        .iter()
        .map(|config| config.swept.iter().map(|s| format!("{}{} ", s.name, s.value)).collect())
        .collect();
    assert_eq!(
        points,
        ["codepoint1 ttl5 ", "codepoint1 ttl64 ", "codepoint2 ttl5 ", "codepoint2 ttl64 "]
    );
    assert_eq!(configs[4].title, "DSCP 2 (ttl = 64)");
}

#[test]
fn scopes_say_whether_configurations_take_turns() {
    let of = |steps: &str| {
        let plan = plan(&format!("name = 'x'\n[config.zero]\n[config.one]\nsteps = [{steps}]"));
        (plan.turns(), plan.privileges())
    };
    let netfilter = "{ netfilter = { rule = 'ip dscp set 46' } }";
    let sockopt = "{ sockopt = { ip_tos = 184 } }";
    let sysctl = "{ sysctl = { 'net.ipv4.tcp_ecn' = 1 } }";
    let command = "{ command = { run = ['dish'] } }";
    assert_eq!(of(""), (Turns::AtOnce, vec![]));
    assert_eq!(of(sockopt), (Turns::AtOnce, vec![]));
    assert_eq!(of(&format!("{netfilter}, {sockopt}")), (Turns::AtOnce, vec![Privilege::NetAdmin]));
    assert_eq!(of(sysctl), (Turns::Overlapping, vec![Privilege::NetAdmin]));
    assert_eq!(of("{ sysctl = { 'net.ipv4.tcp_sack' = 1 } }").0, Turns::Waves);
    assert_eq!(of(&format!("{netfilter}, {sysctl}")), (Turns::Waves, vec![Privilege::NetAdmin]));
    assert_eq!(of(command), (Turns::Waves, vec![Privilege::AllowCommands]));
}

#[test]
fn what_is_found_out_before_all_configurations_has_columns_of_its_own() {
    let fields = |rest: &str| {
        let plan = plan(&format!("name = 'x'\n[config.zero]\n{rest}"));
        let schema = plan.record_schema(&Fields::empty());
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(fields(""), ["target", "zero"]);
    for prepare in ["resolve = true", "probe = 'tcp'"] {
        assert_eq!(fields(&format!("[connect.prepare]\n{prepare}")), ["target", "prepare", "zero"]);
    }
    let condition = "[connect.prepare]\nprobe = 'tcp'\n[[conditions]]\nname = 'x.up'\nvalue = 'prepare.probe_ok'";
    assert_eq!(plan(&format!("name = 'x'\n[config.zero]\n{condition}")).rules.iter().count(), 1);
}

#[test]
fn one_configuration_is_online_or_offline() {
    let plan = plan(include_str!("format/alone.toml"));
    let labels = plan.rules.iter().next().unwrap().labels();
    assert_eq!(
        labels,
        [
            "alone.connectivity.online",
            "alone.connectivity.offline",
            "alone.connectivity.insufficient"
        ]
    );
    assert_eq!(plan.record_schema(&Fields::empty()).fields().len(), 2);
}

#[test]
fn groups_place_each_function_once_in_all_its_chains() {
    use pathspider::chain::Chain;
    let text = "name = 'x'\n[config.zero]\n[observer]\nuse = ['ecn']\nip4_chain = ['ecn_code']";
    let plan = plan(text);
    let chains: Vec<Chain> = plan.selection.chains("ecn_code").iter().collect();
    assert_eq!(chains, [Chain::Ip4, Chain::Ip6]);
    assert!(plan.selection.has("ecn_setup") && !plan.selection.has("tcp_setup"));
}

#[test]
fn the_user_chooses_among_the_kinds_that_the_file_allows() {
    let text = "name = 'x'\n[config.zero]\n[config.one]\nconnect = { kind = 'h2' }\n\
                [connect]\nkind = 'https'\nkinds = ['tcp', 'dns_udp']\n";
    let choose = |text: &str, kind: &str| {
        let overrides = Overrides::default().connect(Some(kind.into()));
        Plan::load_with("x.toml", text, &Fields::empty(), &overrides).map_err(|e| e.to_string())
    };
    let plan = choose(text, "tcp").unwrap();
    let kinds: Vec<_> = plan.configs.iter().map(|config| config.connection.kind.name).collect();
    assert_eq!(kinds, ["tcp", "h2"]);
    let said = choose(text, "http").unwrap_err();
    assert!(said.contains("allows only tcp, dns_udp"), "{said}");
    let said = choose(&format!("{text}tfo = true"), "dns_udp").unwrap_err();
    assert!(said.contains("it has no option `tfo`"), "{said}");
    let said = choose("name = 'x'\n[config.zero]", "tcp").unwrap_err();
    assert!(said.contains("allows no other kind"), "{said}");
}

const FORGE: &str = "name = 'x'\n[config.zero]\n[config.one]\n\
                     connect = { packet = { ip_flags = ['evil'], ttl = 9 } }\n\
                     [connect]\nkind = 'forge'\n";

/// The packets of a plan, in words.
fn packets(plan: &Plan) -> Vec<Option<String>> {
    let options = plan.configs.iter().map(|config| &config.connection.options);
    options.map(|options| options.packet.as_ref().map(|packet| packet.describe())).collect()
}

#[test]
fn a_packet_is_a_plain_syn_but_for_what_is_said_of_it() {
    let made = plan(&format!("{FORGE}packet = {{ ttl = 64, tcp_flags = ['syn', 'ece'] }}"));
    let answered = ", answered by a SYN-ACK that acknowledges the packet";
    let words = |words: &str| Some(format!("a TCP segment with {words}{answered}"));
    let evil = ", with the evil bit (IPv4 only), TTL 9";
    assert_eq!(packets(&made), [words("SYN and ECE"), words(&format!("SYN and ECE{evil}"))]);
    assert_eq!(packets(&plan(FORGE)), [words("SYN"), words(&format!("SYN{evil}"))]);
    let twice = plan(&format!("{FORGE}kinds = ['tcp']").replace("'evil'", "'evil', 'evil'"));
    assert_eq!(packets(&twice), packets(&plan(FORGE)));
}

#[test]
fn the_kernels_resets_are_held_back_where_tcp_is_made_by_hand() {
    let made = plan(&FORGE.replace("ttl = 9", "ttl = 9, protocol = 'udp'"));
    let steps = made.configs.iter().map(|config| config.steps.as_slice());
    assert_eq!(steps.collect::<Vec<_>>(), [&[Step::HoldReset][..], &[]]);
    assert_eq!((made.turns(), made.privileges()), (Turns::AtOnce, vec![Privilege::NetAdmin]));
}

#[test]
fn a_value_that_is_swept_makes_a_packet_for_each() {
    let text = "name = 'x'\n[params]\nmss = { default = 1000 }\n[config.zero]\n[config.one]\n\
                sweep = { on = [true, false], flag = ['syn', 'fin'] }\n\
                [config.one.connect.packet]\ntcp_flags = ['${flag}']\n\
                tcp_options = [{ mss = '${mss}' }, { sack_permitted = '${on}' }]\n\
                [connect]\nkind = 'forge'\n";
    let options: Vec<_> = plan(text)
        .configs
        .iter()
        .map(|config| config.connection.options.packet.as_ref().unwrap())
        .map(|packet| (packet.flags, packet.options.len()))
        .collect();
    assert_eq!(options, [(2, 0), (2, 2), (1, 2), (2, 1), (1, 1)]);
}

#[test]
fn the_user_may_choose_crafted_packets_or_plain_connections() {
    let choose = |text: &str, kind: &str| {
        let overrides = Overrides::default().connect(Some(kind.into()));
        Plan::load_with("x.toml", text, &Fields::empty(), &overrides).map_err(|e| e.to_string())
    };
    let tcp = "name = 'x'\n[config.zero]\n[connect]\nkinds = ['forge']\n";
    let made = choose(tcp, "forge").unwrap();
    assert!(packets(&made)[0].as_ref().unwrap().starts_with("a TCP segment with SYN"));
    assert_eq!(made.configs[0].steps, [Step::HoldReset]);
    let made = choose(&format!("{tcp}packet = {{ tcp_flags = ['fin'] }}"), "forge").unwrap();
    assert!(packets(&made)[0].as_ref().unwrap().starts_with("a TCP segment with FIN"));
    assert_eq!(packets(&plan(tcp)), [None]);
    let plain = "name = 'x'\n[config.zero]\n[connect]\nkind = 'forge'\nkinds = ['tcp']\n";
    let made = choose(plain, "tcp").unwrap();
    assert_eq!((packets(&made), made.configs[0].steps.len()), (vec![None], 0));
    let said = choose(&format!("{FORGE}kinds = ['tcp']"), "tcp").unwrap_err();
    assert!(said.contains("it has no option `packet`"), "{said}");
}

#[test]
fn columns_of_replies_are_kept_as_the_file_says() {
    let columns = |rest: &str, kind: Option<&str>| {
        let text = format!("name = 'x'\n[config.zero]\n{rest}");
        let overrides = Overrides::default().connect(kind.map(str::to_owned));
        let plan = Plan::load_with("x.toml", &text, &Fields::empty(), &overrides);
        plan.map_err(|why| why.to_string()).map(|plan| {
            let fields = plan.configuration_fields();
            let mut names: Vec<_> = fields.iter().map(|field| field.name().clone()).collect();
            // Between the attempt's own and the observer's.
            assert_eq!(names.iter().rposition(|name| name == "source_port"), Some(9));
            let observed = names.iter().position(|name| name == "observed").unwrap();
            names.drain(10..observed).collect::<Vec<_>>().join(" ")
        })
    };
    const HTTP: &str = "http_status http_version http_body http_octets time_to_first_octet goodput";
    assert_eq!(columns("", None).unwrap(), "");
    let http = "[connect]\nkind = 'http'\nkinds = ['tcp', 'https']\n";
    assert_eq!(columns(http, None).unwrap(), HTTP);
    assert_eq!(columns(http, Some("tcp")).unwrap(), "");
    assert!(columns(http, Some("https")).unwrap().ends_with("tls_cert_from tls_cert_until"));
    let some = format!("{http}after = {{ keep = ['http_version', 'http_status'] }}");
    assert_eq!(columns(&some, Some("https")).unwrap(), "http_status http_version");
    let none = format!("{http}after = {{ keep = [] }}");
    assert_eq!(columns(&none, None).unwrap(), "");
    let mixed = format!("connect = {{ kind = 'dns_udp' }}\n[config.one]\n{http}");
    let mixed = columns(&mixed, None).unwrap();
    assert!(mixed.starts_with("http_status") && mixed.ends_with("dns_reply_case_kept"), "{mixed}");
    // A condition is about a column that the chosen kind does not provide.
    let rule = "[[conditions]]\nname = 'x.status'\nvalue = 'zero.http_status'";
    assert!(columns(&format!("{http}{rule}"), Some("https")).is_ok());
    let said = columns(&format!("{http}{rule}"), Some("tcp")).unwrap_err();
    assert!(said.contains("kind tcp:") && said.contains("http_status"), "{said}");
    let said =
        columns("[connect]\nkind = 'http'\nkinds = ['https']\nversion = 'h2c'", Some("https"));
    assert!(said.unwrap_err().contains("does not support HTTP version `h2c`"));
}
