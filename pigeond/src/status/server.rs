//! The HTTP side of the status port: routes, and a listener with bounds on connections, bytes and time.

use super::{NodeView, json, metrics, page};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use pigeon_store::VolumeState;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Connections served at once; more wait in the kernel's backlog. A monitor and a few people need less.
const CONNECTIONS_MAX: usize = 32;

/// How long a connection may last. Every reply closes it, so this is the time for one request and its reply.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// After this many bytes nothing more is read: a request line and headers fit, and no route takes a body.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// How long to wait when the system has no descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The open port.
pub struct StatusPort {
    listener: TcpListener,
}

impl StatusPort {
    /// Opens the port. Needs a tokio runtime with IO and time.
    pub async fn bind(address: SocketAddr) -> io::Result<StatusPort> {
        Ok(StatusPort {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// Where it is open.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(self, view: Arc<dyn NodeView>) {
        let routes = Router::new()
            .route("/", get(show_page))
            .route("/alive", get(async || plain(StatusCode::OK, "alive\n".to_owned())))
            .route("/ready", get(show_readiness))
            .route("/metrics", get(show_metrics))
            .route("/status.json", get(show_status))
            .route("/sessions.json", get(show_sessions))
            .route("/queue.json", get(show_waiting))
            .route("/account.json", get(show_account))
            .layer(axum::middleware::map_response(with_headers))
            .with_state(view);
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let listener = BoundedListener {
            listener: self.listener,
            connections,
        };
        // It ends only with an error that the listener, which retries, never gives.
        let _ = axum::serve(listener, routes).await;
    }
}

type View = State<Arc<dyn NodeView>>;

async fn show_page(State(view): View) -> Response {
    reply(StatusCode::OK, "text/html; charset=utf-8", page::render(&view.status()))
}

async fn show_readiness(State(view): View) -> Response {
    let status = view.status();
    let (is_ready, word) = status.readiness();
    let code = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = format!("{word}\n");
    // A volume that is out of order changes words, not the code: a balancer that took the node away for it would take it
    // away from the accounts of its other volumes as well, and bring nothing back, for no other node has that volume.
    for volume in status.volumes {
        if volume.state != Ok(VolumeState::Writable) {
            let state = metrics::state_name(&volume.state).replace('_', " ");
            text.push_str(&format!("volume {}: {state}\n", volume.id));
        }
    }
    plain(code, text)
}

async fn show_metrics(State(view): View) -> Response {
    match metrics::render(view.status()) {
        Ok(text) => reply(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written\n".to_owned(),
        ),
    }
}

async fn show_status(State(view): View) -> Response {
    let links = view.links().await;
    reply(StatusCode::OK, "application/json", json::status(&view.status(), &links))
}

async fn show_waiting(State(view): View) -> Response {
    reply(StatusCode::OK, "application/json", json::waiting(&view.waiting().await))
}

/// Of everybody, or with `?account=NAME` of one.
async fn show_sessions(State(view): View, uri: Uri) -> Response {
    let account = match uri.query().map(json::account_of) {
        None => None,
        Some(Some(account)) => Some(account),
        Some(None) => return plain(StatusCode::BAD_REQUEST, "expected account=NAME\n".to_owned()),
    };
    let sessions = view.sessions(account.as_deref()).await;
    reply(StatusCode::OK, "application/json", json::sessions(&sessions))
}

/// With `?account=NAME`: how it stands in the volumes of this node.
async fn show_account(State(view): View, uri: Uri) -> Response {
    let Some(account) = uri.query().and_then(json::account_of) else {
        return plain(StatusCode::BAD_REQUEST, "expected account=NAME\n".to_owned());
    };
    match view.places(&account).await {
        Some(places) => reply(StatusCode::OK, "application/json", json::places(&places)),
        None => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "nobody has this name, or not all volumes could be asked\n".to_owned(),
        ),
    }
}

fn plain(code: StatusCode, text: String) -> Response {
    reply(code, "text/plain; charset=utf-8", text)
}

fn reply(code: StatusCode, content_type: &'static str, text: String) -> Response {
    (code, [(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// What every reply says, those to requests that nothing answers too.
async fn with_headers(mut response: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Hands out connections while there are permits.
struct BoundedListener {
    listener: TcpListener,
    connections: Arc<Semaphore>,
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let permit = self
            .connections
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let deadline = Box::pin(tokio::time::sleep(CONNECTION_TIMEOUT));
                    let stream = BoundedStream {
                        stream,
                        _permit: permit,
                        deadline,
                        bytes_left: REQUEST_BYTES_MAX,
                    };
                    return (stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "the status port cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends after a time, and after a number of bytes.
struct BoundedStream {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    deadline: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl BoundedStream {
    fn check_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(context)?;
        if self.bytes_left == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the request is too long",
            )));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        self.bytes_left = self.bytes_left.saturating_sub(count);
        result
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::tests::example;
    use super::super::{ClusterStatus, NodeStatus, Phase};
    use super::*;
    use pigeon_datatree_cache::record::{NodeState, RoleSet};
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A port over a node whose phase can be set.
    async fn open() -> (SocketAddr, Arc<Mutex<Phase>>, tokio::task::JoinHandle<()>) {
        let phase = Arc::new(Mutex::new(Phase::Starting));
        let shown = phase.clone();
        let view = move || NodeStatus {
            phase: *shown.lock().expect("no test panics with the lock"),
            ..example()
        };
        let port = StatusPort::bind(([127, 0, 0, 1], 0).into())
            .await
            .expect("loopback has free ports");
        let address = port.local_address().expect("a bound socket has an address");
        (address, phase, tokio::spawn(port.serve(Arc::new(view))))
    }

    async fn request(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("the port is open");
        // The server may stop reading before all is sent.
        let _ = stream.write_all(request).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).expect("replies are text")
    }

    async fn fetch(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
        let text = request(
            address,
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        )
        .await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a reply has a head");
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a reply has a code");
        assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
        (code, body.to_owned())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(test);
    }

    #[test]
    fn readiness_follows_the_phase_and_names_volumes_that_are_out_of_order() {
        run(async {
            let (address, phase, _server) = open().await;
            for (now, code, text) in [
                (Phase::Starting, 503, "starting\n"),
                (Phase::Ready, 200, "ready\n"),
                (Phase::Draining, 503, "draining\n"),
            ] {
                *phase.lock().expect("no test panics with the lock") = now;
                let text = format!("{text}volume <old>: not open\n");
                assert_eq!(fetch(address, "GET", "/ready").await, (code, text));
                assert_eq!(fetch(address, "GET", "/alive").await, (200, "alive\n".to_owned()));
            }
        });
    }

    #[test]
    fn readiness_says_what_control_data_says_of_the_node() {
        let status = |phase, state| NodeStatus {
            phase,
            cluster: Some(ClusterStatus {
                node: "n1".to_owned(),
                described: true,
                state,
                roles: RoleSet::ALL,
                weight: 1,
            }),
            ..example()
        };
        for (phase, state, expected) in [
            (Phase::Ready, NodeState::Up, (true, "ready")),
            (Phase::Ready, NodeState::Draining, (false, "draining")),
            (Phase::Ready, NodeState::Down, (false, "down")),
            (Phase::Starting, NodeState::Draining, (false, "starting")),
            (Phase::Draining, NodeState::Down, (false, "draining")),
        ] {
            assert_eq!(status(phase, state).readiness(), expected);
        }
    }

    #[test]
    fn programs_get_json() {
        run(async {
            let (address, _, _server) = open().await;
            let (code, text) = fetch(address, "GET", "/status.json").await;
            assert_eq!(code, 200);
            let status: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(status["hostname"], "mail.example.org");
            for path in ["/sessions.json", "/sessions.json?account=a%40example.org"] {
                let (code, text) = fetch(address, "GET", path).await;
                assert_eq!(
                    (code, text.as_str()),
                    (
                        200,
                        "{\"total\":0,\"complete\":true,\"silent_cores\":[],\"sessions\":[]}"
                    )
                );
            }
            for path in [
                "/sessions.json?user=a",
                "/sessions.json?account=%4",
                "/sessions.json?account=",
            ] {
                assert_eq!(fetch(address, "GET", path).await.0, 400, "{path}");
            }
        });
    }

    #[test]
    fn metrics_and_page_are_served() {
        run(async {
            let (address, _, _server) = open().await;
            let (code, metrics) = fetch(address, "GET", "/metrics").await;
            assert_eq!(code, 200);
            assert!(
                metrics.contains("pigeon_messages_accepted_total{core=\"0\"} 7\n"),
                "{metrics}"
            );
            let (code, page) = fetch(address, "GET", "/").await;
            assert_eq!(code, 200);
            assert!(page.contains("<h1>mail.example.org</h1>"), "{page}");
        });
    }

    #[test]
    fn nothing_can_be_changed() {
        run(async {
            let (address, _, _server) = open().await;
            for path in [
                "/",
                "/alive",
                "/ready",
                "/metrics",
                "/status.json",
                "/sessions.json",
                "/queue.json",
            ] {
                for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
                    let text = request(
                        address,
                        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
                    )
                    .await;
                    assert!(text.starts_with("HTTP/1.1 4"), "{method} {path}: {text}");
                }
            }
            for path in ["/admin", "/metrics/", "/../etc/passwd", "/%2e%2e/x"] {
                assert!(
                    request(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
                        .await
                        .starts_with("HTTP/1.1 4"),
                    "{path}"
                );
            }
        });
    }

    #[test]
    fn bad_requests_end_the_connection_and_nothing_else() {
        run(async {
            let (address, _, _server) = open().await;
            let long_line = [b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat();
            let many_headers = [b"GET / HTTP/1.1\r\n".to_vec(), b"X: y\r\n".repeat(100_000)].concat();
            for bytes in [
                &b"EHLO x\r\n"[..],
                b"\0\0\0\0\r\n\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                &long_line,
                &many_headers,
            ] {
                let text = request(address, bytes).await;
                assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
            }
            assert_eq!(fetch(address, "GET", "/alive").await.0, 200);
        });
    }

    #[test]
    fn a_connection_beyond_the_bound_waits_for_its_turn() {
        run(async {
            let (address, _, _server) = open().await;
            let mut idle = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                idle.push(TcpStream::connect(address).await.expect("the port is open"));
            }
            let mut waiting = std::pin::pin!(fetch(address, "GET", "/alive"));
            // It is not answered while the others hold every place ...
            for _ in 0..50 {
                tokio::select! {
                    biased;
                    reply = waiting.as_mut() => panic!("answered beyond the bound: {reply:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
            // ... and is when one of them leaves.
            drop(idle.pop());
            assert_eq!(waiting.await.0, 200);
        });
    }

    #[test]
    fn a_silent_connection_ends_after_its_time() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let (address, _, _server) = open().await;
            let mut stream = TcpStream::connect(address).await.expect("the port is open");
            stream.write_all(b"GET / HT").await.expect("the connection is open");
            let mut reply = Vec::new();
            // The clock is the runtime's, which runs ahead while everybody waits.
            let _ = stream.read_to_end(&mut reply).await;
            assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 4"));
        });
    }
}
