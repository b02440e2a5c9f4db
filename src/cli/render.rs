//! Answers as text: bare lines, JSON, tables. The JSON documents have the fields of the HTTP interface.

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::documents::{DeleteDoc, GetDoc, ListDoc, SetDoc, StatusDoc, id_text};
use crate::client::Error;
use crate::proto::v1;

use super::args::Format;
use super::output::visible;

#[cfg(test)]
mod tests;

/// The answer to a Get.
pub(super) fn get(format: Format, answer: v1::GetResponse, value_only: bool) -> String {
    match format {
        Format::Simple => match answer.kv {
            Some(kv) if value_only => format!("{}\n", kv.value),
            kv => pair(kv.as_ref()),
        },
        Format::Json => line(&GetDoc::from(answer)),
        Format::Table => kv_table(answer.kv.as_slice(), false),
    }
}

/// The answer to a Set.
pub(super) fn set(format: Format, answer: v1::SetResponse) -> String {
    match format {
        Format::Simple => format!("OK\n{}", pair(answer.prev_kv.as_ref())),
        Format::Json => line(&SetDoc::from(answer)),
        Format::Table => {
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            let mut table = table(&["RESULT", "REVISION"]);
            table.add_row(["OK".to_owned(), revision.to_string()]);
            format!("{table}\n{}", previous(answer.prev_kv))
        }
    }
}

/// The answer to a Delete.
pub(super) fn del(format: Format, answer: v1::DeleteResponse) -> String {
    match format {
        Format::Simple => format!("{}\n{}", answer.deleted, pair(answer.prev_kv.as_ref())),
        Format::Json => line(&DeleteDoc::from(answer)),
        Format::Table => {
            let mut table = table(&["DELETED"]);
            table.add_row([answer.deleted.to_string()]);
            format!("{table}\n{}", previous(answer.prev_kv))
        }
    }
}

/// Keys as bare lines: key and value, or only the key.
pub(super) fn list_lines(kvs: &[v1::KeyValue], keys_only: bool) -> String {
    let mut text = String::new();
    for kv in kvs {
        text.push_str(&kv.key);
        text.push('\n');
        if !keys_only {
            text.push_str(&kv.value);
            text.push('\n');
        }
    }
    text
}

/// The answer to a List.
pub(super) fn list(format: Format, answer: v1::ListResponse, keys_only: bool) -> String {
    match format {
        Format::Simple => list_lines(&answer.kvs, keys_only),
        Format::Json => line(&ListDoc::new(answer, !keys_only)),
        Format::Table => kv_table(&answer.kvs, keys_only),
    }
}

/// The answers to Status. Bare lines tell only of the endpoints that answered.
pub(super) fn status(format: Format, answers: &[(String, Result<v1::StatusResponse, Error>)]) -> String {
    let good = || answers.iter().filter_map(|(endpoint, answer)| Some((endpoint, answer.as_ref().ok()?)));
    match format {
        Format::Simple => good().map(|(endpoint, answer)| status_line(endpoint, answer)).collect(),
        Format::Json => {
            let documents: Vec<Value> = answers
                .iter()
                .map(|(endpoint, answer)| match answer {
                    Ok(answer) => json!({"endpoint": endpoint, "status": StatusDoc::from(answer.clone())}),
                    Err(error) => json!({"endpoint": endpoint, "error": error.to_string()}),
                })
                .collect();
            line(&json!(documents))
        }
        Format::Table => {
            let mut table = table(&[
                "ENDPOINT",
                "NAME",
                "ROLE",
                "LEADER",
                "TERM",
                "LAST",
                "COMMIT",
                "APPLIED",
                "KEYS",
                "LOG BYTES",
                "DISK",
                "VERSION",
            ]);
            for (endpoint, answer) in answers {
                let Ok(answer) = answer else {
                    let name = good().find_map(|(_, other)| name_of(endpoint, other));
                    table.add_row([endpoint.clone(), name.unwrap_or_default(), "unreachable".to_owned()]);
                    continue;
                };
                table.add_row([
                    endpoint.clone(),
                    answer.name.clone(),
                    answer.role.clone(),
                    leader_name(answer),
                    term(answer).to_string(),
                    answer.last_index.to_string(),
                    answer.commit_index.to_string(),
                    answer.applied_index.to_string(),
                    answer.keys.to_string(),
                    answer.log_size_bytes.to_string(),
                    disk(answer, good().map(|(_, other)| other)).to_owned(),
                    answer.version.clone(),
                ]);
            }
            format!("{table}\n")
        }
    }
}

/// What is known of a node's disk: by itself, and by whoever led it.
fn disk<'a>(
    answer: &v1::StatusResponse,
    mut others: impl Iterator<Item = &'a v1::StatusResponse>,
) -> &'static str {
    let node = answer.header.as_ref().map_or(0, |header| header.node_id);
    let is_forgetful = |member: &v1::Member| member.id == node && member.losses > 0;
    if others.any(|other| other.members.iter().any(is_forgetful)) {
        "HAS LOST DATA"
    } else if answer.disk_full {
        "FULL"
    } else {
        "ok"
    }
}

/// The name of the member that clients reach at this endpoint, as another node knows it.
fn name_of(endpoint: &str, answer: &v1::StatusResponse) -> Option<String> {
    let url = format!("http://{endpoint}");
    let member = answer.members.iter().find(|member| member.client_urls.contains(&url));
    member.map(|member| member.name.clone())
}

/// Whether each endpoint served a read.
pub(super) fn health(format: Format, answers: &[(String, Result<v1::GetResponse, Error>)]) -> String {
    let words = |answer: &Result<v1::GetResponse, Error>| match answer {
        Ok(_) => ("healthy", String::new()),
        Err(error) => ("unhealthy", error.to_string()),
    };
    match format {
        Format::Simple => {
            let line = |(endpoint, answer): &(String, Result<v1::GetResponse, Error>)| match words(answer) {
                (healthy, why) if why.is_empty() => format!("{endpoint}, {healthy}\n"),
                (unhealthy, why) => format!("{endpoint}, {unhealthy}: {why}\n"),
            };
            answers.iter().map(line).collect()
        }
        Format::Json => {
            let documents: Vec<Value> = answers
                .iter()
                .map(|(endpoint, answer)| match answer {
                    Ok(_) => json!({"endpoint": endpoint, "health": true}),
                    Err(error) => json!({"endpoint": endpoint, "health": false, "error": error.to_string()}),
                })
                .collect();
            line(&json!(documents))
        }
        Format::Table => {
            let mut table = table(&["ENDPOINT", "HEALTH", "ERROR"]);
            for (endpoint, answer) in answers {
                let (health, why) = words(answer);
                table.add_row([endpoint.clone(), health.to_owned(), why]);
            }
            format!("{table}\n")
        }
    }
}

fn status_line(endpoint: &str, answer: &v1::StatusResponse) -> String {
    format!(
        "{endpoint}, {}, {}, leader {}, term {}, last {}, commit {}, applied {}, keys {}, version {}{}\n",
        answer.name,
        answer.role,
        leader_name(answer),
        term(answer),
        answer.last_index,
        answer.commit_index,
        answer.applied_index,
        answer.keys,
        answer.version,
        [if answer.disk_full { ", DISK FULL" } else { "" }.to_owned(), losses(answer)].concat(),
    )
}

/// The members that a leader has found to have lost data.
fn losses(answer: &v1::StatusResponse) -> String {
    let forgetful = answer.members.iter().filter(|member| member.losses > 0);
    forgetful.map(|member| format!(", {} HAS LOST DATA", member.name)).collect()
}

/// The leader as people know it: by name if the members are known, "none" without one.
pub(super) fn leader_name(answer: &v1::StatusResponse) -> String {
    if answer.leader_id == 0 {
        return "none".to_owned();
    }
    let leader = answer.members.iter().find(|member| member.id == answer.leader_id);
    leader.map_or_else(|| id_text(answer.leader_id), |member| member.name.clone())
}

fn term(answer: &v1::StatusResponse) -> u64 {
    answer.header.as_ref().map_or(0, |header| header.term)
}

fn pair(kv: Option<&v1::KeyValue>) -> String {
    kv.map_or(String::new(), |kv| format!("{}\n{}\n", kv.key, kv.value))
}

fn previous(kv: Option<v1::KeyValue>) -> String {
    kv.map_or(String::new(), |kv| format!("before:\n{}", kv_table(&[kv], false)))
}

fn kv_table(kvs: &[v1::KeyValue], keys_only: bool) -> String {
    if kvs.is_empty() {
        return String::new();
    }
    let mut head = vec!["KEY", "CREATED AT", "MODIFIED AT", "VERSION"];
    if !keys_only {
        head.insert(1, "VALUE");
    }
    let mut table = table(&head);
    for kv in kvs {
        let mut row = vec![
            visible(&kv.key, ""),
            kv.create_revision.to_string(),
            kv.mod_revision.to_string(),
            kv.version.to_string(),
        ];
        if !keys_only {
            row.insert(1, visible(&kv.value, ""));
        }
        table.add_row(row);
    }
    format!("{table}\n")
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_FULL_CONDENSED).set_header(head.iter().copied());
    table
}

fn line(document: &impl Serialize) -> String {
    let json = serde_json::to_string(document).expect("documents have text for keys and no failing parts");
    json + "\n"
}
