//! The whole configuration: what it reads as (`values`), what is refused and where (`mistakes`), and the files that it names
//! (`files`), and a directory as the source (`directory`).

mod cluster;
mod directory;
mod files;
mod mistakes;
mod values;

use super::*;

const SMALLEST: &str = r#"
hostname = "mail.example.org"
[control_data]
ldif = "users.ldif"
[[listener]]
address = "127.0.0.1:2025"
service = "smtp"
[[volume]]
id = "main"
path = "volumes/main"
"#;

const FULL: &str = r#"
hostname = "MAIL.example.org"
cores = "0-3,8"
control_cpus = "4"
password_threads = 4

[control_data]
ldif = "/etc/pigeon/users.ldif"

[[listener]]
address = "0.0.0.0:25"
service = "smtp"
proxy_protocol_from = ["10.0.0.0/8", "2001:db8::/32"]

[[listener]]
address = "[::]:143"
service = "imap"
trusted_networks = ["127.0.0.0/8", "::1"]

[[listener]]
address = "[::]:993"
service = "imaps"

[cluster]
node = "n1"
key_file = "cluster-key"

[[listener]]
address = "10.0.0.1:2143"
service = "backend-imap"
redirectors = ["10.0.0.0/24"]

[[certificate]]
chain = "one.pem"
key = "one-key.pem"

[[certificate]]
chain = "two.pem"
key = "two-key.pem"

[[volume]]
id = "main"
path = "volumes/main"
core = 1
segment_bytes = "64 MiB"
bytes_max = "10 GiB"
reserve_bytes = 0

[[volume]]
id = "67e55044-10b1-426f-9247-bb680e5fe0c8"
path = "/srv/two"

[limits]
message_size_max = "20 MiB"
recipients_max = 100
accounts_per_message_max = 500
hops_max = 100
refused_recipients_max = 20
idle_commands_max = 30
receive_buffers = 4_096

[timeouts]
smtp_message = "20m"
imap_idle = "1h30m"

[policy]
bare_newline = "normalise"
over_quota = "defer"
greeting_delay = "2s"
sender_must_match = true
scram_sha_256 = true
delivered_to = false

[status]
address = "127.0.0.1:2080"

[log]
format = "json"
level = "info,pigeon_store=debug"
"#;

fn parse(content: &str) -> Result<Config, Mistakes> {
    Config::parse(content, Path::new("pigeon.toml"), Path::new("/etc/pigeon"))
}

fn mistakes(content: &str) -> Vec<String> {
    let mistakes = parse(content).expect_err("the table holds mistakes");
    mistakes.to_string().lines().map(str::to_owned).collect()
}
