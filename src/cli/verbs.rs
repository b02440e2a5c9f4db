//! The client verbs.

use std::future::Future;
use std::io::Read;

use crate::client::{Answers, Client, Error, Options};
use crate::config::HttpUrl;
use crate::proto::v1;

use super::args::{ClientArgs, DelArgs, Format, GetArgs, ListArgs, SetArgs, StatusArgs};
use super::exit::{Code, Failure, say};
use super::{output, render};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::BadConnection(_) => Code::BadConnection,
            Error::Invalid(_) => Code::InvalidInput,
            Error::ConditionFailed { .. } | Error::Failed(_) | Error::UnknownOutcome(_) => Code::Error,
        };
        Self::new(code, error.to_string())
    }
}

/// Reads a key.
pub(super) fn get(args: &GetArgs) -> Result<(), Failure> {
    let client = client(&args.client)?;
    let request = v1::GetRequest { key: args.key.clone(), serializable: args.serializable };
    let answer = run(async { Ok(client.get(request).await?) }, "interrupted")?;
    let is_missing = answer.kv.is_none();
    let format = args.client.write_out;
    output::print_stored(format, &render::get(format, answer, args.print_value_only))?;
    if args.fail && is_missing {
        return Err(Failure::new(Code::NoSuchKey, "there is no such key"));
    }
    Ok(())
}

/// Stores a value.
pub(super) fn set(args: &SetArgs) -> Result<(), Failure> {
    let client = client(&args.client)?;
    let value = match args.value.as_deref() {
        Some("-") => stdin()?,
        None => match stdin()? {
            // Most likely nobody meant it: a script without a terminal, a command that printed nothing.
            value if value.is_empty() => {
                let message = "no value was given, and stdin is empty: write '' to store an empty value";
                return Err(Failure::new(Code::InvalidInput, message));
            }
            value => value,
        },
        Some(value) => value.to_owned(),
    };
    let request = v1::SetRequest {
        key: args.key.clone(),
        value,
        if_mod_revision: args.if_mod_revision,
        prev_kv: args.prev_kv,
    };
    let answer = run(async { Ok(client.set(request).await?) }, INTERRUPTED_WRITE)?;
    output::print_stored(args.client.write_out, &render::set(args.client.write_out, answer))
}

/// Deletes a key.
pub(super) fn del(args: &DelArgs) -> Result<(), Failure> {
    let client = client(&args.client)?;
    let request = v1::DeleteRequest {
        key: args.key.clone(),
        if_mod_revision: args.if_mod_revision,
        prev_kv: args.prev_kv,
    };
    let answer = run(async { Ok(client.delete(request).await?) }, INTERRUPTED_WRITE)?;
    output::print_stored(args.client.write_out, &render::del(args.client.write_out, answer))
}

/// Reads keys in order, page by page.
pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = client(&args.client)?;
    run(
        async {
            let mut whole = v1::ListResponse::default();
            let mut start_after = args.start_after.clone();
            let mut left = args.limit;
            loop {
                let request = v1::ListRequest {
                    prefix: args.prefix.clone(),
                    start_after,
                    // 0 asks for as much as the server returns at once. What is left may be more than it allows.
                    limit: if (1..=SMALL_PAGE).contains(&left) { left as u32 } else { 0 },
                    keys_only: args.keys_only,
                    serializable: args.serializable,
                };
                let mut page = client.list(request).await?;
                let last = page.kvs.last().map(|kv| kv.key.clone());
                if args.limit > 0 {
                    let room = usize::try_from(left).unwrap_or(usize::MAX);
                    page.more |= page.kvs.len() > room;
                    page.kvs.truncate(room);
                    left -= page.kvs.len() as u64;
                }
                whole.header = page.header;
                whole.more = page.more;
                match args.client.write_out {
                    // Lines are printed at once: a long list needs no memory.
                    Format::Simple => {
                        output::print_stored(Format::Simple, &render::list_lines(&page.kvs, args.keys_only))?;
                    }
                    Format::Json | Format::Table => whole.kvs.append(&mut page.kvs),
                }
                match last {
                    Some(last) if page.more && (args.limit == 0 || left > 0) => start_after = last,
                    _ => break,
                }
            }
            output::print_stored(
                args.client.write_out,
                &render::list(args.client.write_out, whole, args.keys_only),
            )
        },
        "interrupted",
    )
}

/// A page that every server gives: its limit is far above.
const SMALL_PAGE: u64 = 100;

/// Shows the status of every endpoint.
pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let answers = of_each(args, async |client| client.statuses().await)?;
    output::print(&render::status(args.client.write_out, &answers))?;
    let failed = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
    failed.for_each(|error| say(&error.to_string()));
    verdict(&answers).map_err(|code| Failure::new(code, ""))
}

/// Shows whether every endpoint serves linearizable reads.
pub(super) fn health(args: &StatusArgs) -> Result<(), Failure> {
    let answers = of_each(args, async |client| client.healths().await)?;
    output::print(&render::health(args.client.write_out, &answers))?;
    let failed = answers.iter().filter(|(_, answer)| answer.is_err()).count();
    verdict(&answers)
        .map_err(|code| Failure::new(code, format!("{failed} of {} endpoints are unhealthy", answers.len())))
}

/// Asks each endpoint that was given, or each member of their cluster.
fn of_each<A>(args: &StatusArgs, ask: impl AsyncFn(&Client) -> Answers<A>) -> Result<Answers<A>, Failure> {
    let given = client(&args.client)?;
    run(
        async {
            if !args.cluster {
                return Ok(ask(&given).await);
            }
            let members = given.status().await?.members;
            let endpoints: Vec<String> = members.iter().filter_map(client_endpoint).collect();
            let mut answers = ask(&connect_to(endpoints, &args.client)?).await;
            for member in members.iter().filter(|member| client_endpoint(member).is_none()) {
                let why = format!(
                    "{}: where it listens for clients is not known to the node that was asked",
                    member.name
                );
                answers.push((member.name.clone(), Err(Error::BadConnection(why))));
            }
            Ok(answers)
        },
        "interrupted",
    )
}

/// Where clients reach a member, as far as it has been heard of.
fn client_endpoint(member: &v1::Member) -> Option<String> {
    Some(HttpUrl::parse_endpoint(member.client_urls.first()?).ok()?.authority())
}

/// The exit code if an endpoint failed.
fn verdict<A>(answers: &[(String, Result<A, Error>)]) -> Result<(), Code> {
    let failed: Vec<&Error> = answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).collect();
    let unreachable = |error: &&Error| matches!(error, Error::BadConnection(_));
    match failed.len() {
        0 => Ok(()),
        all if all == answers.len() && failed.iter().all(unreachable) => Err(Code::BadConnection),
        _ => Err(Code::Interrupted),
    }
}

const INTERRUPTED_WRITE: &str =
    "interrupted: outcome unknown: the write may or may not have been applied, or still be";

fn client(args: &ClientArgs) -> Result<Client, Failure> {
    connect_to(args.endpoints.urls().iter().map(HttpUrl::authority).collect(), args)
}

fn connect_to(endpoints: Vec<String>, args: &ClientArgs) -> Result<Client, Failure> {
    let options =
        Options { endpoints, dial_timeout: args.dial_timeout, command_timeout: args.command_timeout };
    Ok(Client::new(&options)?)
}

/// Runs a command until it is done or somebody presses Ctrl-C.
fn run<T>(work: impl Future<Output = Result<T, Failure>>, interrupted: &'static str) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Error, format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        tokio::select! {
            done = work => done,
            Ok(()) = tokio::signal::ctrl_c() => Err(Failure::new(Code::Interrupted, interrupted)),
        }
    });
    // A name that is being looked up may take longer than anybody waits.
    runtime.shutdown_background();
    result
}

/// All of stdin, byte for byte.
fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::new(Code::InvalidInput, format!("cannot read stdin: {error}")))?;
    if bytes.len() as u64 > MAX_STDIN_BYTES {
        let message = format!("stdin has more than {MAX_STDIN_BYTES} bytes: no server accepts such a value");
        return Err(Failure::new(Code::InvalidInput, message));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(Code::InvalidInput, "the value on stdin is not UTF-8: encode it, for example as base64")
    })
}

/// The largest value that a server can be configured to take.
const MAX_STDIN_BYTES: u64 = 256 << 20;
