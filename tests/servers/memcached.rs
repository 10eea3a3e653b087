//! memcached.

use super::{Process, command_as, free_port};

/// A memcached on a free port of this machine.
pub(crate) struct Memcached {
    port: u16,
    arguments: Vec<String>,
    process: Process,
}

impl Memcached {
    /// Starts one with these arguments beside those that say where it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut failures = Vec::new();
        for _ in 0..5 {
            let port = free_port();
            match run(port, &arguments) {
                Ok(process) => return Self { port, arguments, process },
                Err(failure) => failures.push(failure),
            }
        }
        panic!("{}", failures.join("\n"));
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it, and starts it on the same port. It has forgotten everything.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = run(self.port, &self.arguments).expect("the port was its own");
    }

    /// Stops it (`STOP`), or lets it go on (`CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }
}

fn run(port: u16, arguments: &[String]) -> Result<Process, String> {
    // It says that it is ready, and much else, when it is asked to be very verbose.
    let mut command = command_as("memcache", "memcached");
    command.args(["-vv", "-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]).args(arguments);
    Process::start(&mut command, "server listening")
}
