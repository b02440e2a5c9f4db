//! Tests of the configuration: layers, checks, identity, printing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use lograft_node::limits::Limits;
use lograft_types::{ClusterId, Identity, NodeId};

const FILE: &str = "/etc/lograft.toml";

fn merge(flags: &[(&str, &str)], env: &[(&str, &str)], file: Option<&str>) -> Result<Layers, ConfigError> {
    let flags: Vec<(String, String)> =
        flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let env: BTreeMap<String, OsString> =
        env.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Layers::merge(&flags, &|name| env.get(name).cloned(), file.map(|text| (Path::new(FILE), text)))
}

fn config(flags: &[(&str, &str)]) -> Result<ServerConfig, ConfigError> {
    ServerConfig::from_layers(&merge(flags, &[], None)?)
}

fn refused(flags: &[(&str, &str)]) -> String {
    let line = config(flags).expect_err("this configuration must be refused").to_string();
    assert!(!line.contains('\n'), "one line: {line:?}");
    line
}

#[track_caller]
fn assert_says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{line:?} does not say {part:?}");
    }
}

const THREE: &str = "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380";

fn three(name: &str) -> ServerConfig {
    config(&[("name", name), ("initial-cluster", THREE)]).unwrap()
}

#[test]
fn alone_it_is_a_one_node_cluster_on_the_default_ports() {
    let config = config(&[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("./default.lograft"));
    assert_eq!(config.listen_client_urls[0].to_string(), "http://127.0.0.1:2379");
    assert_eq!(config.advertise_client_urls, config.listen_client_urls);
    assert_eq!(config.listen_peer_urls[0].to_string(), "http://127.0.0.1:2380");
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.timings, Timings { heartbeat_interval_ms: 100, election_timeout_ms: 1000 });
    let founded = config.found(42).unwrap();
    assert_eq!(founded.identity.cluster, ClusterId::new(42));
    assert_eq!(founded.members.len(), 1);
    assert_eq!(founded.members[0].id, founded.identity.node);
    assert_eq!(founded.members[0].peer_urls, ["http://127.0.0.1:2380"]);
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default_each_setting_alone() {
    let layers = merge(
        &[("max-key-bytes", "1")],
        &[("LOGRAFT_MAX_KEY_BYTES", "2"), ("LOGRAFT_MAX_PENDING_REQUESTS", "2")],
        Some("max-key-bytes = 3\nmax-pending-requests = 3\nmax-value-bytes = 3\n"),
    )
    .unwrap();
    let limits = ServerConfig::from_layers(&layers).unwrap().limits;
    assert_eq!(limits.max_key_bytes, 1);
    assert_eq!(limits.max_pending_requests, 2);
    assert_eq!(limits.max_value_bytes, 3);
    assert_eq!(limits.max_request_bytes, Limits::default().max_request_bytes);
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let layers = merge(&[], &[("LOGRAFT_NAME", "")], Some("name = \"n7\"")).unwrap();
    assert_eq!(ServerConfig::from_layers(&layers).unwrap().name, "n7");
}

#[test]
fn durations_are_spelled_with_their_unit_wherever_they_stand() {
    let flags =
        [("heartbeat-interval", "20ms"), ("election-timeout", "2s 500ms"), ("request-timeout", "1.5s")];
    let file = "heartbeat-interval = \"20ms\"\nelection-timeout = \"2s 500ms\"\nrequest-timeout = \"1.5s\"\n";
    let environment: Vec<(String, &str)> =
        flags.iter().map(|(name, value)| (env_name(name), *value)).collect();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let places = [merge(&flags, &[], None), merge(&[], &environment, None), merge(&[], &[], Some(file))];
    for layers in places.map(Result::unwrap) {
        let config = ServerConfig::from_layers(&layers).unwrap();
        assert_eq!(config.timings, Timings { heartbeat_interval_ms: 20, election_timeout_ms: 2500 });
        assert_eq!(config.limits.request_timeout_ms, 1500);
        let text = render(&layers, Some(&config));
        assert_says(&text, &["heartbeat-interval = \"20ms\"  # ", "request-timeout = \"1.5s\"  # "]);
    }
}

#[test]
fn a_bare_number_is_milliseconds_where_etcd_has_the_same_flag_and_refused_elsewhere() {
    for layers in [
        merge(&[("heartbeat-interval", "20"), ("election-timeout", "0200")], &[], None).unwrap(),
        merge(&[], &[], Some("heartbeat-interval = 20\nelection-timeout = 200\n")).unwrap(),
    ] {
        let config = ServerConfig::from_layers(&layers).unwrap();
        assert_eq!(config.timings, Timings { heartbeat_interval_ms: 20, election_timeout_ms: 200 });
        let text = render(&layers, Some(&config));
        assert_says(&text, &["heartbeat-interval = \"20ms\"  # ", "election-timeout = \"200ms\"  # "]);
    }
    assert_says(&refused(&[("request-timeout", "5000")]), &["--request-timeout", "5s"]);
}

#[test]
fn what_is_no_duration_within_bounds_is_refused_with_what_to_write() {
    for text in ["", "soon", "5", "-1s", "0s", "2h", "1h 1ms", "1500us", "1e3s", "99999999999999999999y"] {
        assert_says(&refused(&[("request-timeout", text)]), &["--request-timeout", "from 1ms to 1h", "5s"]);
    }
    assert_says(&refused(&[("heartbeat-interval", "5ms")]), &["from 10ms to 10s"]);
}

#[test]
fn the_first_segment_is_a_mebibyte_or_the_largest_where_that_is_smaller() {
    let sizes = |largest: &str| {
        let flags = [("max-segment-bytes", largest), ("max-value-bytes", "1KiB")];
        let limits = config(&flags).unwrap().limits;
        (limits.min_segment_bytes, limits.max_segment_bytes)
    };
    assert_eq!(sizes("128KiB"), (128 << 10, 128 << 10));
    assert_eq!(sizes("1MiB"), (1 << 20, 1 << 20));
    assert_eq!(sizes("8MiB"), (1 << 20, 8 << 20));
}

#[test]
fn every_setting_can_be_set_in_each_of_the_three_places() {
    for setting in SETTINGS {
        let text = setting.default.unwrap_or("http://10.0.0.1:1").to_owned();
        let variable = env_name(setting.name);
        let file = format!("{} = {text:?}", setting.name);
        let places: [(Layers, Origin); 3] = [
            (merge(&[(setting.name, &text)], &[], None).unwrap(), Origin::Flag),
            (merge(&[], &[(&variable, &text)], None).unwrap(), Origin::Env(variable.clone())),
            (merge(&[], &[], Some(&file)).unwrap(), Origin::File { path: FILE.into(), line: 1 }),
        ];
        for (layers, origin) in places {
            let given = layers.given(setting.name).expect(setting.name);
            assert_eq!((&given.text, &given.origin), (&text, &origin));
        }
    }
}

#[test]
fn the_file_takes_arrays_strings_numbers_and_sizes() {
    let file = "listen-client-urls = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n\
                max-value-bytes = \"512KiB\"\nmax-key-bytes = 0x10\n";
    let config = ServerConfig::from_layers(&merge(&[], &[], Some(file)).unwrap()).unwrap();
    assert_eq!(config.listen_client_urls.len(), 2);
    assert_eq!(config.limits.max_value_bytes, 512 * 1024);
    assert_eq!(config.limits.max_key_bytes, 16);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let line = merge(&[], &[], Some("name = \"n1\"\n\nmax-keys-bytes = 1\n")).unwrap_err().to_string();
    assert_says(&line, &["/etc/lograft.toml:3", "max-keys-bytes", "unknown key"]);
}

#[test]
fn a_file_that_is_no_toml_or_has_the_wrong_kind_of_value_is_named_with_its_line() {
    for (text, line) in
        [("name = \"n1\"\nname = \"n2\"", 2), ("\n\nx", 3), ("name = true", 1), ("[name]\na = 1", 1)]
    {
        let error = merge(&[], &[], Some(text)).unwrap_err().to_string();
        assert_says(&error, &[&format!("/etc/lograft.toml:{line}: ")]);
        assert!(!error.contains('\n'), "one line: {error:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let flags = [("config-file".to_owned(), "/nowhere/lograft.toml".to_owned())];
    let error = Layers::load(&flags, &|_| None).unwrap_err();
    assert_says(&error.to_string(), &["/nowhere/lograft.toml"]);
}

#[test]
fn the_file_named_by_the_environment_is_read_and_a_flag_names_another() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one.toml"), dir.path().join("two.toml"));
    std::fs::write(&one, "name = \"one\"").unwrap();
    std::fs::write(&two, "name = \"two\"").unwrap();
    let env = |name: &str| (name == "LOGRAFT_CONFIG_FILE").then(|| one.clone().into_os_string());
    assert_eq!(Layers::load(&[], &env).unwrap().text("name"), "one");
    let flags = [("config-file".to_owned(), two.display().to_string())];
    assert_eq!(Layers::load(&flags, &env).unwrap().text("name"), "two");
}

#[test]
fn errors_say_where_the_value_came_from() {
    let layers = merge(&[], &[("LOGRAFT_ELECTION_TIMEOUT", "soon")], None).unwrap();
    let line = ServerConfig::from_layers(&layers).unwrap_err().to_string();
    assert_says(&line, &["--election-timeout", "LOGRAFT_ELECTION_TIMEOUT", "\"soon\"", "from 50ms to 50s"]);
}

#[test]
fn bad_urls_are_refused_with_what_to_write() {
    for (url, says) in [
        ("127.0.0.1:2379", "http://HOST:PORT"),
        ("http://127.0.0.1", "no port"),
        ("http://[::1]", "no port"),
        ("https://127.0.0.1:2379", "no TLS"),
        ("ftp://127.0.0.1:2379", "unknown scheme"),
        ("http://127.0.0.1:99999", "between 0 and 65535"),
        ("http://127.0.0.1:+1", "between 0 and 65535"),
        ("http://127.0.0.1:2379/path", "nothing before or after"),
        ("http://user@127.0.0.1:2379", "nothing before or after"),
        ("http://999.0.0.1:2379", "not a host name or an address"),
        ("http://:2379", "not a host name or an address"),
        ("http://db.example:2379", "this machine's address"),
        ("", "http://HOST:PORT"),
        ("http://127.0.0.1:1,http://127.0.0.1:1", "twice"),
    ] {
        assert_says(&refused(&[("listen-client-urls", url)]), &["--listen-client-urls", says]);
    }
}

#[test]
fn equal_urls_are_spelled_equally() {
    for (written, shown) in [
        ("HTTP://Example.COM:80/", "http://example.com:80"),
        ("http://[0:0:0:0:0:0:0:1]:080", "http://[::1]:80"),
        (" http://10.0.0.1:1 ", "http://10.0.0.1:1"),
    ] {
        assert_eq!(HttpUrl::parse(written).unwrap().to_string(), shown);
    }
    assert_eq!(HttpUrl::parse_endpoint("localhost:2379").unwrap().to_string(), "http://localhost:2379");
    assert_says(&HttpUrl::parse_endpoint("localhost:0").unwrap_err(), &["port 0"]);
}

#[test]
fn nobody_is_told_to_connect_to_everywhere() {
    for url in ["http://0.0.0.0:2379", "http://[::]:2379", "http://127.0.0.1:0"] {
        for flag in ["advertise-client-urls", "initial-advertise-peer-urls"] {
            assert_says(&refused(&[(flag, url)]), &[flag, "advertise"]);
        }
        let line = refused(&[("listen-client-urls", url)]);
        assert_says(&line, &["give --advertise-client-urls"]);
        let line = refused(&[("listen-peer-urls", url), ("listen-client-urls", "http://127.0.0.1:1")]);
        assert_says(&line, &["give --initial-advertise-peer-urls"]);
    }
    assert_says(&refused(&[("initial-cluster", "default=http://0.0.0.0:2380")]), &["--initial-cluster"]);
}

#[test]
fn listening_everywhere_is_fine_when_the_others_are_told_where() {
    let config = config(&[
        ("name", "n1"),
        ("listen-client-urls", "http://0.0.0.0:2379"),
        ("advertise-client-urls", "http://n1:2379"),
        ("listen-peer-urls", "http://0.0.0.0:2380"),
        ("initial-cluster", THREE),
    ])
    .unwrap();
    assert_eq!(config.peer_url.to_string(), "http://10.0.0.1:2380");
}

#[test]
fn clients_and_peers_cannot_share_a_port() {
    let line = refused(&[("listen-client-urls", "http://127.0.0.1:2380")]);
    assert_says(&line, &["--listen-client-urls", "--listen-peer-urls", "2380"]);
    refused(&[
        ("listen-client-urls", "http://0.0.0.0:2380"),
        ("advertise-client-urls", "http://10.0.0.1:2380"),
    ]);
}

#[test]
fn member_lists_that_contradict_each_other_are_refused() {
    for (cluster, says) in [
        ("", "NAME=URL"),
        ("n1", "NAME=URL"),
        ("=http://10.0.0.1:1", "is not a name"),
        ("n1=http://10.0.0.1:1,n1=http://10.0.0.2:1", "twice"),
        ("n1=http://10.0.0.1:1,n2=http://10.0.0.1:1", "same URL"),
        ("n1=http://10.0.0.1:1,n2=HTTP://10.0.0.1:1/", "same URL"),
        ("n2=http://10.0.0.1:1", "--name n1 is not in --initial-cluster"),
        ("n1=http://10.0.0.1:1,", "NAME=URL"),
        ("n1=https://10.0.0.1:1", "no TLS"),
    ] {
        assert_says(&refused(&[("name", "n1"), ("initial-cluster", cluster)]), &["initial-cluster", says]);
    }
    let line = refused(&[
        ("name", "n1"),
        ("initial-cluster", THREE),
        ("initial-advertise-peer-urls", "http://10.0.0.9:2380"),
    ]);
    assert_says(&line, &["http://10.0.0.9:2380", "n1=http://10.0.0.1:2380", "make them equal"]);
    let two = "http://10.0.0.1:1,http://10.0.0.2:1";
    assert_says(&refused(&[("initial-advertise-peer-urls", two)]), &["one peer URL"]);
}

#[test]
fn timings_and_words_outside_their_range_are_refused() {
    assert_says(
        &refused(&[("heartbeat-interval", "300")]),
        &["five times", "at least 1s 500ms", "--election-timeout"],
    );
    for (flag, value) in [
        ("heartbeat-interval", "9"),
        ("heartbeat-interval", "10001"),
        ("election-timeout", "49"),
        ("election-timeout", "-1"),
        ("election-timeout", "1.5"),
        ("log-level", "loud"),
        ("log-format", "xml"),
        ("initial-cluster-state", "old"),
        ("name", "a b"),
        ("name", ""),
        ("data-dir", ""),
    ] {
        assert_says(&refused(&[(flag, value)]), &[flag]);
    }
}

#[test]
fn limits_that_do_not_fit_each_other_are_refused() {
    for (flag, value) in [
        ("max-value-bytes", "2MiB"),
        ("max-pending-bytes", "1MiB"),
        ("max-segment-bytes", "64KiB"),
        ("max-segment-bytes", "200000"),
        ("max-key-bytes", "0"),
        ("max-key-bytes", "99999999999999999999"),
        ("max-key-bytes", "99999999999999GiB"),
        ("max-pending-requests", "0"),
    ] {
        assert_says(&refused(&[(flag, value)]), &[flag]);
    }
}

#[test]
fn pitfall_79_whatever_is_configured_the_peers_messages_hold_each_entry_and_each_batch() {
    fuzzing::fits(&Limits::default());
    for (key, value, segment) in
        [("1", "1", "128KiB"), ("1MiB", "16MiB", "64MiB"), ("1MiB", "256MiB", "1GiB")]
    {
        let flags = [
            ("max-key-bytes", key),
            ("max-value-bytes", value),
            ("max-request-bytes", "512MiB"),
            ("max-pending-bytes", "512MiB"),
            ("max-segment-bytes", segment),
        ];
        fuzzing::fits(&config(&flags).unwrap().limits);
    }
}

#[test]
fn members_that_were_told_the_same_agree_on_every_id() {
    let shuffled = "n3=http://10.0.0.3:2380, n1=http://10.0.0.1:2380/,n2=HTTP://10.0.0.2:2380";
    let one = three("n1").found(1).unwrap();
    let other = config(&[("name", "n2"), ("initial-cluster", shuffled)]).unwrap().found(2).unwrap();
    assert_eq!(one.identity.cluster, other.identity.cluster);
    assert_eq!(one.members, other.members);
    assert_ne!(one.identity.node, other.identity.node);
    assert_eq!(one.members[0].id, one.identity.node);
    assert_eq!(one.members[1].id, other.identity.node);
}

#[test]
fn ids_never_change_from_version_to_version() {
    let founded = three("n1").found(0).unwrap();
    let ids = (founded.identity.cluster.get(), founded.identity.node.get());
    assert_eq!(ids, (0x1bde_6fb4_6db2_80d8, 0xd669_7c0c_0eb2_4259));
}

#[test]
fn another_token_is_another_cluster() {
    let flags = [("name", "n1"), ("initial-cluster", THREE), ("initial-cluster-token", "other")];
    let other = config(&flags).unwrap().found(1).unwrap();
    assert_ne!(other.identity, three("n1").found(1).unwrap().identity);
}

#[test]
fn no_id_is_ever_0() {
    let founded = config(&[]).unwrap().found(0).unwrap();
    assert_ne!(founded.identity.cluster, ClusterId::new(0));
    assert_ne!(founded.identity.node, NodeId::new(0));
}

#[test]
fn joining_a_running_cluster_is_refused_for_an_empty_directory() {
    let flags = [("name", "n1"), ("initial-cluster", THREE), ("initial-cluster-state", "existing")];
    let line = config(&flags).unwrap().found(1).unwrap_err().to_string();
    assert_says(&line, &["existing", "cannot join"]);
}

#[test]
fn what_is_ignored_because_the_directory_has_an_identity_is_said() {
    let identity = three("n1").found(1).unwrap().identity;
    let existing = Existing { identity, name: "n1" };
    let token = config(&[("name", "n1"), ("initial-cluster-token", "other")]).unwrap();
    let said = token.reconcile(&existing).unwrap();
    assert_eq!(said.len(), 1);
    assert_says(&said[0], &["ignored", "--initial-cluster-token", "first start"]);
    // What is given at every start and agrees is not worth a warning.
    assert!(three("n1").reconcile(&existing).unwrap().is_empty());
    // A node that is told nothing but its name goes on as what it is.
    assert!(config(&[("name", "n1")]).unwrap().reconcile(&existing).unwrap().is_empty());
    let joining = config(&[("name", "n1"), ("initial-cluster-state", "existing")]).unwrap();
    assert_eq!(joining.reconcile(&existing).unwrap().len(), 1);
}

#[test]
fn pitfall_35_a_directory_of_another_node_or_cluster_is_refused() {
    let identity = three("n1").found(1).unwrap().identity;
    let existing = Existing { identity, name: "n1" };
    let line = three("n2").reconcile(&existing).unwrap_err().to_string();
    assert_says(&line, &["belongs to node n1", "--data-dir"]);
    let other = [("name", "n1"), ("initial-cluster", THREE), ("initial-cluster-token", "other")];
    let line = config(&other).unwrap().reconcile(&existing).unwrap_err().to_string();
    assert_says(&line, &["belongs to cluster", "--data-dir"]);
    let alien = Identity { node: NodeId::new(7), ..identity };
    let line = three("n1").reconcile(&Existing { identity: alien, name: "n1" }).unwrap_err().to_string();
    assert_says(&line, &["node 7,", "--data-dir"]);
}

#[test]
fn the_printed_configuration_names_origins_and_reads_back_as_the_same() {
    let layers =
        merge(&[("name", "n1"), ("initial-cluster", THREE)], &[("LOGRAFT_MAX_KEY_BYTES", "99")], None)
            .unwrap();
    let config = ServerConfig::from_layers(&layers).unwrap();
    let text = render(&layers, Some(&config));
    assert_says(
        &text,
        &[
            "name = \"n1\"  # flag",
            "max-key-bytes = 99  # environment, LOGRAFT_MAX_KEY_BYTES",
            "max-request-bytes = \"1536KiB\"  # default",
            "# data-dir = \"./n1.lograft\"  # default, from other settings",
        ],
    );
    let again = ServerConfig::from_layers(&merge(&[], &[], Some(&text)).unwrap()).unwrap();
    assert_eq!(format!("{:?}", again.limits), format!("{:?}", config.limits));
    assert_eq!(again.found(1).unwrap(), config.found(1).unwrap());
}

#[test]
fn a_number_that_is_far_too_large_is_printed_as_what_a_file_may_say_and_refused_as_such() {
    for number in ["9223372036854775808", "18446744073709551616", "99999999999999999999999999"] {
        let layers = merge(&[("max-key-bytes", number)], &[], None).unwrap();
        let text = render(&layers, None);
        assert_says(&text, &[&format!("max-key-bytes = \"{number}\"  # flag")]);
        text.parse::<toml::Table>().expect("any reader of TOML takes it");
        assert_eq!(merge(&[], &[], Some(&text)).unwrap().text("max-key-bytes"), number);
    }
}

#[test]
fn a_whole_number_in_a_file_that_does_not_fit_is_refused_with_its_bounds() {
    for number in ["-5", "99999999999999999999999999", "0xffffffffffffffffff"] {
        let layers = merge(&[], &[], Some(&format!("\nmax-key-bytes = {number}\n"))).unwrap();
        let line = ServerConfig::from_layers(&layers).unwrap_err().to_string();
        assert_says(&line, &["--max-key-bytes", "/etc/lograft.toml:2", number, "not a whole number between"]);
    }
}

fn a_setting() -> impl Strategy<Value = String> {
    let names: Vec<String> = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
    proptest::sample::select(names)
}

fn a_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9]{0,22}(KiB|MiB|GiB)?",
        "[0-9]{0,4}(ms|s|m|h)?",
        "(http|https)://[a-z0-9.:\\[\\]]{0,12}(:[0-9]{0,6})?(,http://[0-9.]{0,10}:[0-9]{0,5})?",
        "n1=http://[a-z0-9.]{0,5}:[0-9]{0,5}(,n[12]=http://[a-z]{0,5}:[0-9]{0,5})?",
    ]
}

proptest! {
    #[test]
    fn no_input_makes_it_panic_and_every_refusal_is_one_line(
        flags in proptest::collection::vec((a_setting(), a_value()), 0..4),
        file in any::<String>(),
    ) {
        let merged = Layers::merge(&flags, &|_| None, None).unwrap();
        match ServerConfig::from_layers(&merged) {
            Ok(config) => drop(config.found(7).unwrap()),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
        drop(Layers::merge(&flags, &|_| None, Some((Path::new(FILE), &file))));
    }

    #[test]
    fn what_is_printed_reads_back(name in a_setting(), value in a_value()) {
        let merged = Layers::merge(&[(name, value)], &|_| None, None).unwrap();
        fuzzing::read_back(&merged, None);
    }
}
