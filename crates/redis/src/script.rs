//! Scripts by their hash, and by their text where a server does not know them yet.

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, ToRedisArgs};

/// A script.
#[derive(Debug, Clone)]
pub struct Script {
    text: &'static str,
    hash: String,
}

/// A script with keys and arguments.
#[derive(Debug, Clone)]
pub struct Call {
    text: &'static str,
    command: Cmd,
}

impl Script {
    /// Of this text.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// A call with these keys. On a cluster they have to be in one slot.
    #[must_use]
    pub fn call(&self, keys: &[&str]) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len()).arg(keys);
        Call { text: self.text, command }
    }
}

impl Call {
    /// One more argument.
    pub fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Runs it. A server that does not know the script, as a new master or node does not, gets its text: it is not loaded
    /// everywhere, which would need every node of a cluster to answer.
    pub async fn invoke<T: FromRedisValue>(&self, connection: &mut impl ConnectionLike) -> RedisResult<T> {
        match self.command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.by_text().query_async(connection).await
            }
            answer => answer,
        }
    }

    fn by_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_by_text_has_the_same_keys_and_arguments() {
        let mut call = Script::new("return 1").call(&["a", "b"]);
        call.arg("c").arg(&b"\xff"[..]);
        let words = |command: &Cmd| command.get_packed_command();
        let mut expected = redis::cmd("EVAL");
        expected.arg("return 1").arg(2).arg("a").arg("b").arg("c").arg(&b"\xff"[..]);
        assert_eq!(words(&call.by_text()), words(&expected));
    }
}
