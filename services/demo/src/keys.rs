//! Single keys from the terminal, without Enter.

use std::io::{IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::sync::mpsc;

/// The keyboard, while somebody sits at it. The terminal is as before when this is dropped.
pub(super) struct Keys {
    before: Termios,
    pressed: mpsc::UnboundedReceiver<u8>,
}

impl Keys {
    /// Begins to listen. None without a terminal, or when it is another program's at the moment.
    pub(super) fn listen() -> Option<Self> {
        let stdin = std::io::stdin();
        // Whoever changes a terminal from the background is stopped by it.
        let ours = stdin.is_terminal() && tcgetpgrp(&stdin).ok() == Some(rustix::process::getpgrp());
        let before = ours.then(|| tcgetattr(&stdin).ok()).flatten()?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        let (press, pressed) = mpsc::unbounded_channel();
        let keys = Self { before, pressed };
        // A thread of its own: reading cannot be called off, and must not hold up the end of the runtime.
        let read = move || {
            let mut key = [0];
            while matches!(std::io::stdin().read(&mut key), Ok(1)) && press.send(key[0]).is_ok() {}
        };
        std::thread::Builder::new().name("keys".to_owned()).spawn(read).ok()?;
        Some(keys)
    }

    /// The next key; never when the terminal is gone.
    pub(super) async fn next(&mut self) -> u8 {
        match self.pressed.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no care.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
