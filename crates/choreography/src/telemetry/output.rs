//! Non-blocking output of lines to a reader that may be slow or stuck: a terminal, a pipe, a disk.
//!
//! A dedicated thread writes. Callers never wait: if the reader is too slow, lines are lost and counted. The output
//! writes the count as soon as it has capacity again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::metrics::{self, Counter};

/// The maximum number of lines that wait for the reader.
const MAX_LINES: usize = 8192;

static LOST: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter("log_lines_lost", "Log lines lost because their reader was too slow"));

enum Item {
    Line(Vec<u8>),
    /// All earlier lines were written; dropping the sender signals that to the receiver.
    Flush(#[allow(dead_code, reason = "dropped on purpose")] SyncSender<()>),
}

/// An output of lines. All clones share one thread.
#[derive(Debug, Clone)]
pub struct Output {
    sender: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Output {
    /// Starts to write to `target`. `note` formats the number of lost lines as a line, with its line break.
    ///
    /// # Errors
    ///
    /// If the operating system has no thread left.
    pub fn to(
        target: impl Write + Send + 'static,
        note: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, lines) = sync_channel(MAX_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        LazyLock::force(&LOST);
        let counted = lost.clone();
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write(target, &lines, &counted, note))?;
        Ok(Self { sender, lost })
    }

    /// Queues a line, or counts it as lost.
    pub fn line(&self, line: Vec<u8>) {
        if self.sender.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            LOST.inc();
        }
    }

    /// Waits until all earlier lines were written, at most for `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(0);
        if self.sender.try_send(Item::Flush(done)).is_ok() {
            // Ends with a disconnection, or with a time-out.
            let ended: Result<(), RecvTimeoutError> = written.recv_timeout(limit);
            ended.unwrap_or_default();
        }
    }
}

/// Writes lines until all outputs are dropped. A line that cannot be written is lost, and the next one may succeed.
fn write(mut target: impl Write, lines: &Receiver<Item>, lost: &AtomicU64, note: impl Fn(u64) -> String) {
    while let Ok(item) = lines.recv() {
        let Item::Line(line) = item else { continue };
        let before = lost.swap(0, Ordering::Relaxed);
        if before > 0 && target.write_all(note(before).as_bytes()).is_err() {
            lost.fetch_add(before, Ordering::Relaxed);
        }
        if target.write_all(&line).and_then(|()| target.flush()).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
            LOST.inc();
        }
    }
}

/// One log event on its way to the output.
#[derive(Debug)]
pub struct Event<'a>(&'a Output);

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.line(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Mutex, mpsc};
    use std::time::Instant;

    use super::*;

    /// A reader that accepts a line when the test allows it.
    struct Reader {
        may: mpsc::Receiver<()>,
        read: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let line = String::from_utf8_lossy(bytes).into_owned();
            self.read.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_blocks_no_caller_and_gets_the_number_of_lost_lines() {
        let ((go, may), (read, lines)) = (channel(), channel());
        let output = Output::to(Reader { may, read }, |lost| format!("{lost} lost")).unwrap();
        let start = Instant::now();
        for n in 0..MAX_LINES + 100 {
            output.line(format!("{n}").into_bytes());
        }
        output.flush(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(5));
        for _ in 0..MAX_LINES + 3 {
            go.send(()).unwrap();
        }
        let read: Vec<String> = lines.iter().take(MAX_LINES + 1).collect();
        let note = read.iter().position(|line| line.ends_with(" lost")).unwrap();
        let lost: usize = read[note].trim_end_matches(" lost").parse().unwrap();
        // The reader may already have one line.
        assert!((99..=100).contains(&lost), "{lost}");
        assert!(note <= 1, "as soon as there is capacity");
    }

    #[test]
    fn a_reader_that_is_gone_blocks_no_caller() {
        let ((go, may), (read, lines)) = (channel::<()>(), channel());
        drop((go, lines));
        let output = Output::to(Reader { may, read }, |_| String::new()).unwrap();
        for _ in 0..3 * MAX_LINES {
            output.line(b"x".to_vec());
        }
        output.flush(Duration::from_secs(5));
    }

    #[test]
    fn a_flush_waits_until_everything_is_written() {
        let written = Arc::new(Mutex::new(Vec::new()));
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Output::to(Kept(written.clone()), |_| String::new()).unwrap();
        for _ in 0..1000 {
            output.line(b"x".to_vec());
        }
        output.flush(Duration::from_secs(5));
        assert_eq!(written.lock().unwrap().len(), 1000);
    }
}
