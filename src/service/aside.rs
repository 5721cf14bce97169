//! Work that the packet loop is not to wait for, on a thread that lasts as long as the work.
//!
//! Not longer: in a process with a second thread the kernel counts who holds a descriptor, at each read
//! and write of it.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Does this on a thread, and a runtime, of its own; dropped, it ends there at its next `await`.
///
/// Fails as `work` does, or where the system has no thread.
pub(crate) async fn aside<F>(
    name: &'static str,
    work: impl FnOnce() -> F + Send + 'static,
) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    let (mut ended, end) = oneshot::channel();
    let work = move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let done = runtime.and_then(|runtime| {
            runtime.block_on(async {
                tokio::select! {
                    done = work() => done,
                    () = ended.closed() => Ok(()), // nobody waits for it
                }
            })
        });
        let _ = ended.send(done); // or nobody waits for it
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    let panicked = |_| {
        Err(io::Error::other(format!(
            "the thread '{name}' has panicked"
        )))
    };
    end.await.unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot::error::RecvError;

    use super::*;

    #[tokio::test]
    async fn what_comes_of_it_is_told() {
        let here = thread::current().id();
        let work = move || async move {
            assert_ne!(thread::current().id(), here);
            tokio::task::yield_now().await; // there is a runtime
            Err(io::ErrorKind::AddrInUse.into())
        };
        let error = aside("work", work).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = aside("work", || async { panic!("told below") }).await;
        assert!(error.unwrap_err().to_string().contains("'work'"));
    }

    #[tokio::test]
    async fn it_ends_when_nobody_waits_for_it() {
        let (held, gone) = oneshot::channel::<()>();
        let (begins, begun) = oneshot::channel();
        let work = async move || {
            begins.send(()).unwrap();
            pending::<()>().await;
            drop(held);
            Ok(())
        };
        let waiting = tokio::spawn(aside("work", work));
        begun.await.unwrap();
        waiting.abort();
        assert!(matches!(gone.await, Err(RecvError { .. })));
    }
}
