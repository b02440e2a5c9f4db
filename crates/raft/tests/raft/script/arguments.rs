//! Parses the arguments of a script's commands.

use std::error::Error;

use goldenscript::ArgumentConsumer;
use lograft_types::EntryId;

use crate::cluster::{index, term};

pub(super) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `n2` is node 2.
pub(super) fn node(text: &str) -> Result<u64> {
    let number = text.strip_prefix('n').ok_or_else(|| format!("'{text}' is not a node; write n1"))?;
    Ok(number.parse()?)
}

/// `3@2` is the entry at index 3 of term 2.
pub(super) fn entry(text: &str) -> Result<EntryId> {
    let (entry_index, entry_term) = text
        .split_once('@')
        .ok_or_else(|| format!("'{text}' is not an entry; write 3@2 for index 3 of term 2"))?;
    Ok(EntryId::new(term(entry_term.parse()?), index(entry_index.parse()?)))
}

/// `1 1 2`: the terms of the entries from index 1 on. `2x300` are 300 entries of term 2.
pub(super) fn terms(text: &str) -> Result<Vec<u64>> {
    let mut terms = Vec::new();
    for word in text.split_whitespace() {
        let (entry_term, count) = word.split_once('x').unwrap_or((word, "1"));
        terms.extend(std::iter::repeat_n(entry_term.parse::<u64>()?, count.parse()?));
    }
    Ok(terms)
}

/// `n3 n4`, in one argument.
pub(super) fn nodes(text: &str) -> Result<Vec<u64>> {
    text.split_whitespace().map(node).collect()
}

/// The next positional argument.
pub(super) fn next<'a>(args: &mut ArgumentConsumer<'a>) -> Result<&'a str> {
    args.next_pos().ok_or_else(|| "an argument is missing".into())
}

pub(super) fn next_node(args: &mut ArgumentConsumer<'_>) -> Result<u64> {
    node(next(args)?)
}

/// The number given as `key=`.
pub(super) fn number(args: &mut ArgumentConsumer<'_>, key: &str) -> Result<Option<u64>> {
    Ok(args.take_key(key).map(str::parse).transpose()?)
}

/// The remaining positional arguments, as nodes.
pub(super) fn rest_of_nodes(args: &mut ArgumentConsumer<'_>) -> Result<Vec<u64>> {
    std::iter::from_fn(|| args.next_pos()).map(node).collect()
}
