//! Opening a connection to a server and saying who we are.

use super::options::{Bind, LdapOptions, Place, ServerUri};
use super::pace::Pace;
use super::servers::Trouble;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use rustix::net::sockopt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A bound connection, and the task that reads and writes it.
pub struct Connection {
    /// What requests are made with.
    pub ldap: Ldap,
    pub(super) task: JoinHandle<()>,
    /// Messages of a search are taken through it.
    pub(super) pace: Pace,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that went silent has its connection ended by the kernel after so long without an acknowledgement.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the network has for a connection, if the answer timeout is longer. The first packet is repeated after one
/// second, so a lost one is made good; an attempt that was begun while the network was cut ends soon after.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// A connection for a tool's own requests, on a runtime of tokio; one clear sentence when it fails.
pub async fn connect_to(server: &ServerUri, options: &LdapOptions) -> Result<Connection, String> {
    open(server, options).await.map_err(|trouble| trouble.why)
}

/// Opens a connection on which nobody is bound; one clear sentence when that fails.
pub(super) async fn open_unbound(server: &ServerUri, options: &LdapOptions) -> Result<Connection, String> {
    let patience = options.answer_timeout;
    let opened = timeout(patience, connect(server, options)).await;
    let silent = |_| Trouble::unreachable(format!("no connection within {} s", patience.as_secs_f64()));
    opened
        .map_err(silent)
        .flatten()
        .map_err(|trouble: Trouble| trouble.at(server).why)
}

/// Opens a connection and binds; one clear sentence when that fails.
pub(super) async fn open(server: &ServerUri, options: &LdapOptions) -> Result<Connection, Trouble> {
    let patience = options.answer_timeout;
    // One time for all of it: what is left when a server returns is short.
    let mut step = "connection";
    let opened = timeout(patience, async {
        let mut connection = connect(server, options).await?;
        step = "answer to the bind";
        bind(&mut connection.ldap, &options.bind).await?;
        Ok(connection)
    })
    .await;
    let silent = |_| Trouble::unreachable(format!("no {step} within {} s", patience.as_secs_f64()));
    opened
        .map_err(silent)
        .flatten()
        .map_err(|trouble: Trouble| trouble.at(server))
}

async fn connect(server: &ServerUri, options: &LdapOptions) -> Result<Connection, Trouble> {
    let failed = |error: std::io::Error| Trouble::unreachable(format!("connecting: {error}"));
    let settings = LdapConnSettings::new();
    let (settings, url) = match &server.place {
        Place::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path)
                .await
                .and_then(tokio::net::UnixStream::into_std)
                .map_err(failed)?;
            (settings.set_std_stream(StdStream::Unix(stream)), "ldapi:///".to_owned())
        }
        Place::Tcp { host, port, tls } => {
            let patience = CONNECT_PATIENCE.min(options.answer_timeout);
            let stream = timeout(patience, tokio::net::TcpStream::connect((host.as_str(), *port)))
                .await
                .map_err(|_| Trouble::unreachable(format!("no connection within {} s", patience.as_secs_f64())))?
                .map_err(failed)?;
            // Failing here costs promptness, not correctness: the probe finds a dead server too.
            let milliseconds = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
            let _ = sockopt::set_tcp_user_timeout(&stream, milliseconds);
            let _ = sockopt::set_socket_keepalive(&stream, true);
            let _ = stream.set_nodelay(true);
            let stream = stream.into_std().map_err(failed)?;
            let mut settings = settings.set_std_stream(StdStream::Tcp(stream));
            if *tls || options.tls.start {
                settings = settings
                    .set_config(tls_config(options).map_err(Trouble::refused)?)
                    .set_starttls(!*tls);
            }
            let scheme = if *tls { "ldaps" } else { "ldap" };
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            (settings, format!("{scheme}://{host}:{port}"))
        }
    };
    let (connection, ldap) = LdapConnAsync::with_settings(settings, &url)
        .await
        .map_err(|error| trouble(&error, ""))?;
    let pace = Pace::default();
    let reading = pace.clone().read(connection.drive());
    let task = tokio::spawn(async move {
        // Its end is noticed where answers are missing.
        let _ = reading.await;
    });
    Ok(Connection { ldap, task, pace })
}

async fn bind(ldap: &mut Ldap, bind: &Bind) -> Result<(), Trouble> {
    let (who, result) = match bind {
        Bind::Anonymous => return Ok(()),
        // Servers take an empty password for an anonymous bind and say yes (RFC 4513, 5.1.2).
        Bind::Simple { password, .. } if password.is_empty() => {
            return Err(Trouble::refused("expected a password for the bind, found an empty one"));
        }
        Bind::Simple { dn, password } => (dn.as_str(), ldap.simple_bind(dn, password).await),
        Bind::External => ("EXTERNAL", ldap.sasl_external_bind().await),
    };
    let result = result.map_err(|error| trouble(&error, &format!("bind as {who}: ")))?;
    match result.rc {
        0 => Ok(()),
        49 => Err(Trouble::refused(format!("bind as {who}: wrong DN or password (49)"))),
        code => Err(Trouble::of_result(
            code,
            format!("bind as {who}: {} ({code})", result.text),
        )),
    }
}

/// What an error of the library means, with words in front of its own.
pub(super) fn trouble(error: &LdapError, before: &str) -> Trouble {
    let why = format!("{before}{}", said(error));
    match error {
        // A certificate that is not believed is an error of this kind.
        LdapError::Io { source } if source.kind() == std::io::ErrorKind::InvalidData => Trouble::refused(why),
        LdapError::LdapResult { result } => Trouble::of_result(result.rc, why),
        LdapError::Io { .. }
        | LdapError::EndOfStream
        | LdapError::ResultRecv { .. }
        | LdapError::OpSend { .. }
        | LdapError::Timeout { .. } => Trouble::unreachable(why),
        _ => Trouble::refused(why),
    }
}

fn tls_config(options: &LdapOptions) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.tls.authorities {
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("authorities in {}: {error}", path.display()))?;
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| format!("authorities in {}: {error}", path.display()))?;
        }
        if roots.is_empty() {
            return Err(format!("authorities in {}: expected a certificate", path.display()));
        }
    } else {
        // What cannot be read is left out; a server that needs it is refused by name.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// An error of the library in words for a person.
pub(super) fn said(error: &LdapError) -> String {
    match error {
        LdapError::Io { source } => source.to_string(),
        LdapError::LdapResult { result } => format!("{} ({})", result.text, result.rc),
        LdapError::EndOfStream | LdapError::ResultRecv { .. } | LdapError::OpSend { .. } => {
            "the server closed the connection".to_owned()
        }
        other => other.to_string(),
    }
}
