//! The emulated board: qemu with a throttled card, reached by ssh through the loopback address.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Emulation beside other work is slow; a board that needs longer than this does not come.
const BOOT_WITHIN: Duration = Duration::from_secs(900);
/// An SD card of application class A1: 10 MB/s and 500 writes a second. Reads are as quick as cards are.
const CARD: &str =
    "throttling.bps-write=10000000,throttling.iops-write=500,throttling.bps-read=22000000,throttling.iops-read=1500";

/// What is emulated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Four Cortex-A53, as on a Pi Zero 2 W, and a device tree without a clock.
    Board,
    /// A PC of the same size.
    Pc,
}

impl Kind {
    /// By Debian's name of its architecture.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        match name {
            "arm64" => Ok(Self::Board),
            "amd64" => Ok(Self::Pc),
            _ => bail!("{name}: expected arm64 or amd64"),
        }
    }
}

/// A board that may be on or off. What it has written stays while this value lives.
pub struct Machine {
    kind: Kind,
    image: PathBuf,
    folder: PathBuf,
    port: u16,
    qemu: Option<Child>,
    boots: u32,
}

impl Machine {
    /// A board with a fresh card. `image` has what tests/board/image made; `folder`, which must not exist, gets the rest.
    pub fn new(kind: Kind, image: &Path, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let machine = Self { kind, image: image.to_owned(), folder: folder.to_owned(), port, qemu: None, boots: 0 };
        let card = machine.path("card.qcow2");
        let disk = image.join("disk.img");
        done(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(disk).arg(&card))?;
        if kind == Kind::Board {
            machine.describe()?;
        }
        Ok(machine)
    }

    /// A Pi has no battery-backed clock; qemu's machine has one, and no way to leave it out but its device tree.
    fn describe(&self) -> anyhow::Result<()> {
        let tree = self.path("board.dtb");
        let mut dump = self.qemu();
        done(dump.arg("-machine").arg(format!("dumpdtb={}", tree.display())))?;
        done(Command::new("fdtput").arg("-r").arg(&tree).arg("/pl031@9010000"))?;
        done(Command::new("fdtput").args(["-t", "s"]).arg(&tree).args(["/", "model", "An emulated board"]))
    }

    fn qemu(&self) -> Command {
        // Becomes qemu, which ends with this program however that ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL"]);
        qemu.args(match self.kind {
            Kind::Board => ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a53"],
            Kind::Pc => ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max"],
        });
        qemu.args(["-accel", "tcg,thread=multi"]);
        qemu.args(["-smp", "4", "-m", "512", "-display", "none", "-monitor", "none"]);
        qemu
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A file of this board's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The socket behind its USB serial adapter, which is plugged in while something is connected to the socket.
    pub fn usb(&self) -> PathBuf {
        self.path("usb")
    }

    /// Switches it on and waits until somebody can log in; returns how long that took.
    pub fn boot(&mut self, more: &str) -> anyhow::Result<Duration> {
        ensure!(self.qemu.is_none(), "it is on already");
        let began = Instant::now();
        self.boots += 1;
        let mut qemu = self.qemu();
        let console = match self.kind {
            Kind::Board => {
                qemu.arg("-dtb").arg(self.path("board.dtb"));
                "console=ttyAMA0"
            }
            // Linux counts the ticks of an emulated PC at its start, and gives up when it was starved meanwhile.
            Kind::Pc => "console=ttyS0 no_timer_check",
        };
        qemu.arg("-kernel").arg(self.image.join("vmlinuz"));
        qemu.arg("-initrd").arg(self.image.join("initrd.img"));
        qemu.arg("-append").arg(format!("root=/dev/vda rw {console} {more}"));
        // No host cache, and metadata of the image that is written at a flush: what was not flushed may be gone after a
        // power cut, as with a card.
        qemu.arg("-drive").arg(format!(
            "if=none,id=card,format=qcow2,cache=none,aio=threads,file={},{CARD}",
            self.path("card.qcow2").display()
        ));
        qemu.args(["-device", "virtio-blk-pci,drive=card"]);
        // The guest reaches nothing, and only this machine reaches its ssh.
        qemu.arg("-netdev").arg(format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{}-:22", self.port));
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu.args(["-device", "qemu-xhci", "-device", "usb-serial,chardev=usb"]);
        qemu.arg("-chardev").arg(format!("socket,id=usb,path={},server=on,wait=off", self.usb().display()));
        qemu.arg("-serial").arg(format!("file:{}", self.path(&format!("console-{}", self.boots)).display()));
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.path("qemu.log"))?);
        self.qemu = Some(qemu.spawn().context("qemu")?);
        while !self.ssh("true").output()?.status.success() {
            if let Some(status) = self.qemu.as_mut().expect("it was just started").try_wait()? {
                let log = fs::read_to_string(self.path("qemu.log")).unwrap_or_default();
                self.qemu = None;
                bail!("qemu ended with {status}: {log}");
            }
            ensure!(began.elapsed() < BOOT_WITHIN, "nobody can log in after {BOOT_WITHIN:?}");
            thread::sleep(Duration::from_secs(1));
        }
        Ok(began.elapsed())
    }

    /// Ends qemu in the middle of whatever it does.
    pub fn cut(&mut self) -> anyhow::Result<()> {
        let mut qemu = self.qemu.take().context("it is off")?;
        qemu.kill()?;
        qemu.wait()?;
        self.hang_up();
        Ok(())
    }

    /// Shuts it down in order.
    pub fn shut_down(&mut self) -> anyhow::Result<()> {
        let _ = self.ssh("systemctl poweroff").output()?;
        let mut qemu = self.qemu.take().context("it is off")?;
        let end = Instant::now() + Duration::from_secs(300);
        while qemu.try_wait()?.is_none() {
            if Instant::now() > end {
                qemu.kill()?;
                qemu.wait()?;
                bail!("it did not shut down within five minutes");
            }
            thread::sleep(Duration::from_millis(200));
        }
        self.hang_up();
        Ok(())
    }

    /// Ends the connection that all commands of a boot share.
    fn hang_up(&self) {
        let _ = self.ssh_with(&["-O", "exit"]).output();
    }

    fn ssh_with(&self, more: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.image.join("key")).args(["-F", "none", "-p", &self.port.to_string()]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "ConnectTimeout=20",
            "ControlMaster=auto",
            "ControlPersist=600",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-o").arg(format!("ControlPath={}", self.path(&format!("ssh-{}", self.boots)).display()));
        ssh.args(more).arg("root@127.0.0.1");
        ssh
    }

    fn ssh(&self, command: &str) -> Command {
        let mut ssh = self.ssh_with(&[]);
        ssh.arg(command).stdin(Stdio::null());
        ssh
    }

    /// Runs a command line and returns what it printed; an error when it failed.
    pub fn run(&self, command: &str) -> anyhow::Result<String> {
        let output = self.ssh(command).output()?;
        if !output.status.success() {
            bail!("`{command}` on the board: {}{}", text(&output.stdout), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// Runs a command line, whatever comes of it, and returns what it printed.
    pub fn see(&self, command: &str) -> anyhow::Result<String> {
        let Output { stdout, stderr, .. } = self.ssh(command).output()?;
        Ok(text(&stdout) + &text(&stderr))
    }

    /// Starts a command line that reads what is written into its standard input.
    pub fn feed(&self, command: &str) -> anyhow::Result<Child> {
        let mut ssh = self.ssh_with(&[]);
        Ok(ssh.arg(command).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Writes a file.
    pub fn write(&self, path: &str, bytes: impl Into<Stdio>) -> anyhow::Result<()> {
        let mut ssh = self.ssh_with(&[]);
        done(ssh.arg(format!("cat >{path}")).stdin(bytes))
    }

    /// What it answers on its own loopback address.
    pub fn json(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self.run(&format!("curl -sS -m 60 'http://localhost:8080{path}'"))?;
        serde_json::from_str(&answer).with_context(|| format!("{path}: {answer}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.qemu.is_some() {
            let _ = self.cut();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program to its end; an error with its words when it failed.
fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    Ok(())
}
