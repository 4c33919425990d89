//! The Lua scripts, and calls of them and of plain commands.
//!
//! A script runs alone and is not rolled back, so each of them looks at everything before it writes anything, or takes back
//! what it wrote. They are called by their hash; a server that does not know it, after a restart or a `SCRIPT FLUSH`, is
//! sent the text.

use redis::{Cmd, Pipeline, Value};
use std::sync::LazyLock;

/// A script and the hash that servers know it by.
pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($name:ident $file:literal)*) => {
        $(
            pub(super) static $name: Script = Script {
                text: include_str!(concat!("scripts/", $file)),
                hash: LazyLock::new(|| redis::Script::new(include_str!(concat!("scripts/", $file))).get_hash().to_owned()),
            };
        )*
    };
}

scripts! {
    APPEND "append.lua"
    APPEND_MANY "append_many.lua"
    ADVANCE "advance.lua"
    CLAIM "claim.lua"
    DOCUMENT "document.lua"
    FORGET "forget.lua"
    DESTROY "destroy.lua"
    DECISIONS "decisions.lua"
    READ_LOG "read_log.lua"
    LOG_END "log_end.lua"
    COMMIT "commit.lua"
    LEAD "lead.lua"
    RESIGN "resign.lua"
    APPEND_CATALOG "append_catalog.lua"
}

/// The name of a command and the digits of a count have no more bytes.
const NAME_AND_COUNT: usize = 32;

/// One thing to ask of a server. All keys of it are in one slot.
pub(super) enum Call {
    /// A script with its keys and arguments.
    Script {
        /// Which.
        script: &'static Script,
        /// At least one.
        keys: Vec<Vec<u8>>,
        /// In the order that the script names.
        arguments: Vec<Vec<u8>>,
    },
    /// A command of Redis itself.
    Plain(Cmd),
}

impl Call {
    /// A call of a script.
    pub(super) fn script(script: &'static Script, keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>>) -> Self {
        Self::Script { script, keys, arguments }
    }

    /// A call of a command with its arguments.
    pub(super) fn plain(name: &str, arguments: &[&[u8]]) -> Self {
        let mut command = redis::cmd(name);
        command.arg(arguments);
        Self::Plain(command)
    }

    /// About how many bytes are sent.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Script { keys, arguments, .. } => keys.iter().chain(arguments).map(Vec::len).sum(),
            Self::Plain(command) => command.get_packed_command().len(),
        }
    }

    /// By hash where it is a script.
    fn short(&self) -> Cmd {
        match self {
            Self::Script { script, keys, arguments } => evaluate("EVALSHA", &script.hash, keys, arguments),
            Self::Plain(command) => command.clone(),
        }
    }

    /// With its text where it is a script, which the server then keeps.
    fn full(&self) -> Cmd {
        match self {
            Self::Script { script, keys, arguments } => evaluate("EVAL", script.text, keys, arguments),
            Self::Plain(command) => command.clone(),
        }
    }
}

fn evaluate(command: &str, script: &str, keys: &[Vec<u8>], arguments: &[Vec<u8>]) -> Cmd {
    // Many appends are a long command, which would be copied again and again while it grew.
    let bytes: usize = keys.iter().chain(arguments).map(Vec::len).sum();
    let mut evaluation = Cmd::with_capacity(keys.len() + arguments.len() + 3, bytes + script.len() + NAME_AND_COUNT);
    evaluation.arg(command).arg(script).arg(keys.len()).arg(keys).arg(arguments);
    evaluation
}

/// Calls as one pipeline, by hash.
pub(super) fn pipeline<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Pipeline {
    collect(calls.into_iter().map(Call::short))
}

/// Calls as one pipeline, with their texts.
pub(super) fn pipeline_in_full<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Pipeline {
    collect(calls.into_iter().map(Call::full))
}

fn collect(commands: impl Iterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = redis::pipe();
    commands.for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline
}

/// Whether the server did not know a script by its hash: then it did nothing.
pub(super) fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// A number as an argument.
pub(super) fn number(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}
