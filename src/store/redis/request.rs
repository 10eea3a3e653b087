//! What is asked of a server: one command for each call of the store.

use std::sync::LazyLock;

use redis::{Cmd, cmd};

/// One call, on one key.
pub(super) struct Request {
    pub(super) key: String,
    pub(super) step: Step,
}

pub(super) enum Step {
    Load,
    Save { expected: Vec<u8>, value: Vec<u8>, expires: i64 },
    Touch { version: [u8; 8], seconds: [u8; 8], expires: i64 },
    Delete,
    DeleteAt { version: [u8; 8] },
}

impl Request {
    /// `whole` sends a script's code, which the server then knows, instead of its hash. `again` says that the same
    /// request was sent before and that nobody knows what became of it.
    pub(super) fn command(&self, whole: bool, again: bool) -> Cmd {
        let run = |script: &Script| {
            let mut command = cmd(if whole { "EVAL" } else { "EVALSHA" });
            command.arg(if whole { script.code } else { &script.hash }).arg(1).arg(&self.key);
            command
        };
        let mut command;
        match &self.step {
            Step::Load => {
                command = cmd("GET");
                command.arg(&self.key);
            }
            Step::Delete => {
                command = cmd("DEL");
                command.arg(&self.key);
            }
            // Nothing to compare: the server has a command for that.
            Step::Save { expected, value, expires } if expected.is_empty() && !again => {
                command = cmd("SET");
                command.arg(&self.key).arg(value).arg("NX").arg("PXAT").arg(expires);
            }
            Step::Save { expected, value, expires } => {
                command = run(if again { &SAVE_AGAIN } else { &SAVE });
                command.arg(expected).arg(value).arg(expires);
            }
            Step::Touch { version, seconds, expires } => {
                command = run(&TOUCH);
                command.arg(version).arg(seconds).arg(expires);
            }
            Step::DeleteAt { version } => {
                command = run(&DELETE_AT);
                command.arg(version);
            }
        }
        command
    }
}

/// Makes all scripts known to a server.
pub(super) fn load_scripts() -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    for script in [&SAVE, &SAVE_AGAIN, &TOUCH, &DELETE_AT] {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.code).ignore();
    }
    pipeline
}

/// A script of the server, which runs whole and alone. Versions are compared as octets, because Lua's numbers are
/// doubles. Each answers 1 if it did its work, and 0 if the record is not at the expected version.
struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

/// Arguments: the expected version or nothing, the value, and when it expires.
static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
        return 1",
    )
});

/// The same for what was sent before: the value may be there already, and only its expiry have been moved since.
static SAVE_AGAIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local at = redis.call('GETRANGE', KEYS[1], 0, 7)
        if at == string.sub(ARGV[2], 1, 8)
            and redis.call('GETRANGE', KEYS[1], 16, -1) == string.sub(ARGV[2], 17) then return 1 end
        if at ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
        return 1",
    )
});

/// Arguments: the expected version, the new expiry as it stands in the value, and the same in milliseconds.
static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
        redis.call('SETRANGE', KEYS[1], 8, ARGV[2])
        redis.call('PEXPIREAT', KEYS[1], ARGV[3])
        return 1",
    )
});

/// Argument: the expected version.
static DELETE_AT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
        return redis.call('DEL', KEYS[1])",
    )
});
