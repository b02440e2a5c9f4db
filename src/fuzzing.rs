//! The fuzz targets of this package; [`lograft_fuzzing`] defines what a target is.

pub use crate::cli::fuzzing::arguments;
pub use crate::config::fuzzing::config;
pub use crate::http::fuzzing::http;
pub use crate::peer::fuzzing::wire;

#[cfg(test)]
mod corpora {
    use lograft_fuzzing::play;

    #[test]
    fn of_wire() {
        let reaches = [
            "get",
            "set",
            "delete",
            "list",
            "append",
            "append response",
            "vote",
            "vote response",
            "forward",
            "forward response",
            "handshake",
            "refused",
            "no message",
        ];
        play("wire", super::wire, &reaches);
    }

    #[test]
    fn of_http() {
        play("http", super::http, &["2xx", "304", "400", "404", "405", "412", "413", "no request"]);
    }

    #[test]
    fn of_arguments() {
        play("arguments", super::arguments, &["serve", "cluster", "client", "log", "help", "refused"]);
    }

    #[test]
    fn of_config() {
        play("config", super::config, &["configured", "refused", "no layers"]);
    }
}
