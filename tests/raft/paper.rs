//! smoke
use crate::cluster::*;
#[test]
fn smoke() {
    let mut c = Cluster::new(3);
    c.elect(1);
    c.propose(1, 3);
    c.settle();
    assert_eq!(c.raft(1).commit(), index(4));
    assert_eq!(c.raft(2).commit(), index(4));
    let r = c.read(1);
    c.settle();
    println!("{:?}", c.reads[&r]);
    c.assert_idle();
    c.elect(2);
    assert_eq!(c.raft(3).commit(), index(5));
    let mut c = Cluster::new(1);
    c.elect(1);
    c.propose(1, 3);
    c.settle();
    c.read(1);
    assert_eq!(c.raft(1).commit(), index(4));
    c.assert_idle();
}
