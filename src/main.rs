//! The `gadwall` binary: see `gadwall --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic ends the process: half a daemon that looks alive is worse than a restart. A hook, and not
    // `panic = "abort"`, because that would compile every dependency a second time for the tests.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        report(panic);
        std::process::abort();
    }));
    ExitCode::from(gadwall::cli::run())
}
