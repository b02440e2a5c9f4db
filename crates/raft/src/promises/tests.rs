use lograft_types::NodeId;

use super::super::{ReplyTo, Request, RequestVote};
use super::*;

fn hard_state(term: u64, vote: Option<u64>) -> HardState {
    HardState { term: Term::new(term), vote: vote.map(NodeId::new) }
}

fn vote_response(term: u64, granted: bool) -> Outgoing {
    let response = RequestVoteResponse { term: Term::new(term), granted, pre_vote: false };
    Outgoing::Response { to: NodeId::new(2), reply_to: ReplyTo(1), response: Response::RequestVote(response) }
}

fn vote_request(term: u64) -> Outgoing {
    let request = RequestVote {
        term: Term::new(term),
        last: lograft_types::EntryId::ORIGIN,
        pre_vote: false,
        leadership_transfer: false,
    };
    Outgoing::Request { to: NodeId::new(2), request: Request::RequestVote(request) }
}

#[test]
fn a_message_leaves_at_once_when_its_term_is_durable() {
    let mut promises = Promises::new(hard_state(3, None));
    let mut out = Effects::default();
    promises.send(vote_response(3, false), WriteSeq::ZERO, &mut out);
    assert_eq!(out.messages, [vote_response(3, false)]);
}

#[test]
fn a_message_waits_for_its_own_ground_and_for_its_term() {
    let mut promises = Promises::new(hard_state(3, None));
    let mut out = Effects::default();
    promises.set_hard_state(hard_state(3, Some(2)), &mut out);
    promises.send(vote_response(3, true), WriteSeq::ZERO, &mut out);
    let mut next = Effects::default();
    let second = promises.write(&mut next).seq;
    promises.send(vote_response(3, false), second, &mut next);
    assert_eq!((out.messages, next.messages), (vec![], vec![]));

    let mut out = Effects::default();
    promises.persist(WriteSeq::new(1), &mut out);
    assert_eq!(out.messages, [vote_response(3, true)]);
    promises.persist(second, &mut out);
    assert_eq!(out.messages, [vote_response(3, true), vote_response(3, false)]);
    assert_eq!(promises.withheld(), 0);
}

#[test]
fn a_step_has_one_write_with_the_last_hard_state() {
    let mut promises = Promises::new(hard_state(3, None));
    let mut out = Effects::default();
    promises.set_hard_state(hard_state(4, None), &mut out);
    promises.set_hard_state(hard_state(4, Some(2)), &mut out);
    let expected = Write {
        seq: WriteSeq::new(1),
        hard_state: Some(hard_state(4, Some(2))),
        entries: NewEntries::Nothing,
    };
    assert_eq!(out.write, Some(expected));
}

#[test]
fn when_the_term_moves_on_requests_are_dropped_and_answers_refuse() {
    let mut promises = Promises::new(hard_state(3, None));
    let mut out = Effects::default();
    promises.set_hard_state(hard_state(4, Some(1)), &mut out);
    promises.send(vote_request(4), WriteSeq::ZERO, &mut out);
    promises.send(vote_response(4, true), WriteSeq::ZERO, &mut out);
    let mut next = Effects::default();
    promises.set_hard_state(hard_state(5, None), &mut next);
    let mut flushed = Effects::default();
    promises.persist(WriteSeq::new(1), &mut flushed);
    assert_eq!(flushed.messages, [], "term 4 is durable, but no longer current");
    promises.persist(WriteSeq::new(2), &mut flushed);
    assert_eq!(flushed.messages, [vote_response(5, false)]);
}

#[test]
#[should_panic(expected = "a vote does not change within its term")]
fn a_vote_is_never_changed() {
    let mut promises = Promises::new(hard_state(3, Some(1)));
    promises.set_hard_state(hard_state(3, Some(2)), &mut Effects::default());
}
