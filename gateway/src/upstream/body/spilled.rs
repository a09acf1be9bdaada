//! The rest of a request's body in a file without a name, which is gone with whoever holds it.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, AsyncWriteExt, ReadBuf};

/// Read at once: as much as a socket takes at once.
const PIECE: usize = 64 * 1024;

/// What is written goes behind what is there; what is read is gone.
pub(super) struct Spilled {
    file: File,
    left: u64,
    piece: BytesMut,
}

impl Spilled {
    /// An empty one in `folder`.
    pub(super) async fn within(folder: &Path) -> io::Result<Self> {
        let folder = folder.to_owned();
        let made = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await;
        let file = File::from_std(made.map_err(io::Error::other)??);
        Ok(Self { file, left: 0, piece: BytesMut::new() })
    }

    /// Writes `data`, which is on the disk or in its cache then.
    pub(super) async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data).await?;
        self.left = self.left.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// All is written: from here on it is read.
    pub(super) async fn rewind(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop)
    }

    /// Bytes that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; none when all was read.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.piece.resize(PIECE, 0);
        let mut buffer = ReadBuf::new(&mut self.piece);
        if let Err(error) = ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let size = buffer.filled().len();
        match self.left.checked_sub(u64::try_from(size).unwrap_or(u64::MAX)) {
            Some(left) if size > 0 => self.left = left,
            // Somebody else has changed it, whatever its name was.
            _ => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        }
        Poll::Ready(Some(Ok(self.piece.split_to(size).freeze())))
    }
}
