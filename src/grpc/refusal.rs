//! Better errors for what the gRPC library refuses before a handler sees it.
//!
//! It returns UNIMPLEMENTED without a word for a method that a service does not have; the new message names it.
//! It returns OUT_OF_RANGE for a message over the size limit, and INTERNAL for one that is not protobuf or
//! has a string that is not UTF-8. The client can fix both, so they become INVALID_ARGUMENT, with both sizes
//! and the flag.
//!
//! Caveat: only the library's messages tell these two from other errors; a test pins the messages.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::api::ApiError;

/// A gRPC service with better errors.
#[derive(Clone, Debug)]
pub(crate) struct Reworded<S>(pub(crate) S);

/// A call on its way, and what it calls.
pub(crate) struct Rewording<F> {
    call: F,
    uri: http::Uri,
}

impl<F, E> Future for Rewording<F>
where
    F: Future<Output = Result<http::Response<Body>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.call).poll(context));
        Poll::Ready(answered.map(|response| reword(response, self.uri.path())))
    }
}

impl<S> Service<http::Request<Body>> for Reworded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Future: Unpin>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Rewording<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let uri = request.uri().clone();
        Rewording { call: self.0.call(request), uri }
    }
}

impl<S: NamedService> NamedService for Reworded<S> {
    const NAME: &'static str = S::NAME;
}

fn reword(response: http::Response<Body>, path: &str) -> http::Response<Body> {
    // A refusal has only headers; the status of any other response is in the trailers at the end.
    if !response.headers().contains_key(Status::GRPC_STATUS) {
        return response;
    }
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if status.code() == Code::Unimplemented && status.message().is_empty() {
        return Status::unimplemented(format!("no method {path} on this port")).into_http();
    }
    match refusal(status.code(), status.message()) {
        Some(message) => Status::from(ApiError::invalid(message)).into_http(),
        None => response,
    }
}

/// The new message, if the client can fix what the library refused.
fn refusal(code: Code, message: &str) -> Option<String> {
    if code == Code::OutOfRange {
        let mut numbers = message.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        return Some(match (numbers.next(), numbers.next()) {
            (Some(found), Some(limit)) => {
                format!("request is {found} bytes, the limit is {limit} (--max-request-bytes)")
            }
            _ => format!("request is too large: {message} (--max-request-bytes)"),
        });
    }
    let unreadable = ["failed to decode Protobuf message", "Unexpected EOF", "Missing request message"];
    let is_unreadable = code == Code::Internal && unreadable.iter().any(|words| message.starts_with(words));
    is_unreadable.then(|| format!("the request cannot be read: {message}"))
}
