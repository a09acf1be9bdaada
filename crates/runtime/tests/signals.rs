//! Real signals, in a process of their own.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use shop_runtime::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends() {
    let shutdown = Shutdown::on_signals(Duration::from_hours(1));
    for harmless in [Signal::USR1, Signal::USR2, Signal::HUP] {
        let mut caught = signal(SignalKind::from_raw(harmless.as_raw())).expect("is caught");
        kill_process(getpid(), harmless).expect("the signal is sent");
        caught.recv().await.expect("it came");
    }
    assert!(!shutdown.soft.is_cancelled());

    kill_process(getpid(), Signal::TERM).expect("the signal is sent");
    shutdown.soft.cancelled().await;
    assert!(!shutdown.hard.is_cancelled());

    kill_process(getpid(), Signal::INT).expect("the signal is sent");
    shutdown.hard.cancelled().await;
}
