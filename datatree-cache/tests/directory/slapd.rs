//! A real slapd in a directory of its own, reached over its socket: no port, no root.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const SUFFIX: &str = "dc=test";
pub(crate) const ADMIN: &str = "cn=admin,dc=test";
/// The node's own DN, which may read everything.
pub(crate) const ENGINE: &str = "cn=engine,dc=test";
const REPLICA: &str = "cn=replica,dc=test";
pub(crate) const SECRET: &str = "secret";

/// How long slapd may take for what takes it milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server keeps its own.
fn fresh_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Short: a socket's path has 107 bytes.
    let directory = PathBuf::from(format!("/tmp/pigeon-slapd-{}-{number}", std::process::id()));
    std::fs::create_dir_all(directory.join("db")).expect("a directory under /tmp");
    directory
}

/// A published example with this suffix, these paths and passwords, and without its certificate.
fn configured(example: &str, directory: &Path, whole: &str, database: &str) -> String {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datatree-cache/schema");
    let mut text = std::fs::read_to_string(schemas.join(example)).expect("the example is there");
    let mut replace = |old: &str, new: &str| {
        assert!(text.contains(old), "no {old} in {example}");
        text = text.replace(old, new);
    };
    replace("dc=example,dc=org", SUFFIX);
    replace("{SSHA}replace-me", SECRET);
    replace(
        "/etc/ldap/schema/pigeon.schema",
        &schemas.join("pigeon.schema").display().to_string(),
    );
    replace(
        "directory /var/lib/ldap",
        &format!("directory {}", directory.join("db").display()),
    );
    replace("TLSCertificateFile /etc/ldap/certificate.pem\n", "");
    replace("TLSCertificateKeyFile /etc/ldap/key.pem\n", &format!("{whole}\n"));
    text + database + "\n"
}

/// A server. Ended and removed when it is dropped.
pub(crate) struct Slapd {
    directory: PathBuf,
    child: Option<Child>,
    /// Besides its socket.
    listen: String,
}

impl Slapd {
    /// A provider with an empty tree below [`SUFFIX`] but for the suffix itself and the engine's entry.
    #[allow(dead_code, reason = "tests do")]
    pub(crate) fn start() -> Slapd {
        Slapd::with("", "")
    }

    /// With further lines of configuration for the whole and for the database, behind the overlay.
    pub(crate) fn with(whole: &str, database: &str) -> Slapd {
        let directory = fresh_directory();
        let configuration = configured("slapd.conf.example", &directory, whole, database);
        std::fs::write(directory.join("slapd.conf"), configuration).expect("its own directory");
        let mut slapd = Slapd {
            directory,
            child: None,
            listen: String::new(),
        };
        slapd.resume();
        slapd.change(&format!(
            "dn: {SUFFIX}\nchangetype: add\nobjectClass: domain\ndc: test\n\n\
             dn: {ENGINE}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: engine\n\
             userPassword: {SECRET}\n\n\
             dn: {REPLICA}\nchangetype: add\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: replica\n\
             userPassword: {SECRET}\n"
        ));
        slapd
    }

    /// The database as LDIF.
    #[allow(dead_code, reason = "tests do")]
    pub(crate) fn slapcat(&self) -> String {
        let output = Command::new(program("slapcat"))
            .arg("-f")
            .arg(self.directory.join("slapd.conf"))
            .args(["-b", SUFFIX])
            .output()
            .expect("slapcat is where slapd is");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("LDIF is text")
    }

    pub(crate) fn uri(&self) -> String {
        let path = self.directory.join("ldapi");
        format!("ldapi://{}", path.display().to_string().replace('/', "%2F"))
    }

    /// Listens there as well from the next start on.
    #[allow(dead_code, reason = "tests do")]
    pub(crate) fn listen_at(&mut self, uri: &str) {
        self.listen = format!(" {uri}");
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts it (again).
    pub(crate) fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let child = Command::new(program("slapd"))
            .args(["-f".as_ref(), self.directory.join("slapd.conf").as_os_str()])
            .args(["-h", &format!("{}{}", self.uri(), self.listen), "-d", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("slapd cannot be run: {error}; ./test installs it (package slapd)"));
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        let mut answers = false;
        while !answers && Instant::now() < until {
            answers = self.run("ldapwhoami", &[], "").is_ok();
            if !answers {
                // There is no event for "slapd answers".
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        assert!(answers, "slapd does not answer");
    }

    /// Loads entries into it while it is down.
    #[allow(dead_code, reason = "benches do")]
    pub(crate) fn load(&mut self, file: &Path) {
        self.stop();
        self.add(file, "1");
        self.resume();
    }

    fn add(&self, file: &Path, server: &str) {
        let status = Command::new(program("slapadd"))
            .args(["-q", "-w", "-S", server, "-f"])
            .arg(self.directory.join("slapd.conf"))
            .arg("-l")
            .arg(file)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "slapadd");
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it orderly.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it was started here");
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {id}");
    }

    /// Applies change records.
    pub(crate) fn change(&self, records: &str) {
        // Relaxed, so that tests can give entryUUIDs.
        if let Err(said) = self.run("ldapmodify", &["-e", "relax"], records) {
            panic!("{said}\n{records}");
        }
    }

    /// A search's LDIF.
    #[allow(dead_code, reason = "benches do")]
    pub(crate) fn search(&self, base: &str, scope: &str, attributes: &[&str]) -> String {
        let mut arguments = vec!["-LLL", "-o", "ldif-wrap=no", "-b", base, "-s", scope, "(objectClass=*)"];
        arguments.extend(attributes);
        self.run("ldapsearch", &arguments, "")
            .unwrap_or_else(|said| panic!("{said}"))
    }

    fn run(&self, name: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(program(name))
            .args(["-x", "-H", &self.uri(), "-D", ADMIN, "-w", SECRET])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be run: {error}; ./test installs it (package ldap-utils)"));
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("it was started here");
        writer.join().expect("writing does not panic");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether the programs are there. CI allows no skips.
#[allow(dead_code, reason = "tests do")]
pub(crate) fn is_there() -> bool {
    let there = ["slapd", "ldapmodify"].iter().all(|name| program(name).is_absolute());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "slapd or ldap-utils is missing; ./test installs them"
    );
    if !there {
        eprintln!("skipped: slapd or ldap-utils is missing; ./test installs them");
    }
    there
}

/// Debian has servers in sbin, which is not in everybody's PATH.
fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}
