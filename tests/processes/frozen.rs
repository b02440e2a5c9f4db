//! A node that hangs, as SIGSTOP makes it: the command line goes past it.

use crate::support::{Cluster, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_first_endpoint_holds_nothing_up_and_gets_no_write() {
    let cluster = Cluster::start(3).await;
    cluster.nodes[0].set("k", "v").await.expect("acknowledged");
    cluster.nodes[0].freeze();
    // The others need a leader, and n1 may have been it. From here on only the frozen endpoint can hold anything up.
    cluster.nodes[1].eventually_sets("k", "w").await;
    let address = |place: usize| format!("127.0.0.1:{}", cluster.nodes[place].client_port);
    let all = [address(0), address(1), address(2)].join(",");
    // A dial timeout that would use up all the time: the next endpoint must not wait for it.
    let patient = ["--endpoints", &all, "--command-timeout", "30s", "--dial-timeout", "30s"];
    let (code, output, errors) = run(&[&["get", "k"], &patient[..]].concat());
    assert_eq!((code, output.as_str()), (0, "k\nw\n"), "{errors}");
    let (code, output, errors) = run(&[&["set", "k", "x"], &patient[..]].concat());
    assert_eq!((code, output.as_str()), (0, "OK\n"), "{errors}");

    // Alone it is named, with what happened to it: nothing was sent, so the code is that of no connection.
    for words in [&["get", "k"][..], &["set", "k", "y"]] {
        let (code, _, errors) =
            run(&[words, &["--endpoints", &address(0), "--dial-timeout", "200ms"]].concat());
        let expected = format!(
            "lograft: cannot connect: {}: connected, but nothing was answered within 200ms\n",
            address(0)
        );
        assert_eq!((code, errors), (2, expected));
    }
    cluster.nodes[0].thaw();
    cluster.nodes[0].eventually_gets("k", |value| value == Some("x")).await;
}
