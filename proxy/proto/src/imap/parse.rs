//! From the bytes of one whole command to a `Command`.

use super::command::{Command, IdParameters, Secret, Store, StoreOperation, TAG_BYTES_MAX, Tag};
use super::cursor::{Cursor, Parsed, Syntax, is_astring_char};
use super::date;
use super::fetch::FetchItem;
use super::flags::{FlagList, parse_flag};
use super::list::{self, List, StatusItem};
use super::mailbox_name::MailboxName;
use super::search::Search;
use super::sequence::SequenceSet;

/// Pairs of ID, and bytes of a value (RFC 2971 section 3.3).
const ID_PAIRS_MAX: usize = 30;
const ID_NAME_BYTES_MAX: usize = 30;
const ID_VALUE_BYTES_MAX: usize = 1024;
const ENABLE_MAX: usize = 32;
const SELECT_PARAMETERS_MAX: usize = 8;
const SPECIAL_USES_MAX: usize = 16;

/// The tag, when there is a valid one with a space behind it.
pub(super) fn tag(cursor: &mut Cursor<'_>) -> Option<Tag> {
    let tag = cursor.take_while(|byte| is_astring_char(byte) && byte != b'+');
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX || !matches!(cursor.peek(), Some(b' ') | None) {
        return None;
    }
    Some(Tag(std::str::from_utf8(tag).expect("tag characters are ASCII").into()))
}

/// The command behind the tag and its space, to the end. `bytes` has no line break at its end.
pub(super) fn command(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let command = named_command(cursor)?;
    cursor.end()?;
    Ok(command)
}

fn named_command(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let name = cursor
        .atom()
        .map_err(|_| Syntax("Command expected"))?
        .to_ascii_uppercase();
    let argument = |cursor: &mut Cursor<'_>| cursor.space();
    Ok(match name.as_str() {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge(None),
        // The reader recognises an APPEND by its literal; what comes here has none.
        "APPEND" => return Err(Syntax("Missing message literal")),
        "UID" => {
            argument(cursor)?;
            let name = cursor.atom()?.to_ascii_uppercase();
            argument(cursor)?;
            match name.as_str() {
                "EXPUNGE" => Command::Expunge(Some(SequenceSet::parse(cursor)?)),
                _ => message_command(&name, true, cursor)?.ok_or(Syntax("Unknown UID command"))?,
            }
        }
        _ => {
            // Everything below has arguments; the name is known first, so that an unknown one is called so.
            let mut rest = cursor.clone();
            let spaced = rest.space();
            let command = match name.as_str() {
                "ID" | "AUTHENTICATE" | "LOGIN" | "ENABLE" | "SELECT" | "EXAMINE" | "CREATE" | "DELETE" | "RENAME"
                | "SUBSCRIBE" | "UNSUBSCRIBE" | "LIST" | "LSUB" | "STATUS" | "GETQUOTA" | "GETQUOTAROOT"
                | "SETQUOTA" => {
                    spaced?;
                    account_command(&name, &mut rest)?
                }
                "SEARCH" | "FETCH" | "STORE" | "COPY" | "MOVE" => {
                    spaced?;
                    message_command(&name, false, &mut rest)?.expect("all five are message commands")
                }
                _ => return Err(Syntax("Unknown command")),
            };
            *cursor = rest;
            command
        }
    })
}

fn account_command(name: &str, cursor: &mut Cursor<'_>) -> Parsed<Command> {
    Ok(match name {
        "ID" => Command::Id(id(cursor)?),
        "AUTHENTICATE" => authenticate(cursor)?,
        "LOGIN" => {
            let user = cursor.astring()?.into_owned();
            cursor.space()?;
            Command::Login {
                user,
                password: Secret::new(cursor.astring()?.into_owned()),
            }
        }
        "ENABLE" => {
            let mut names = vec![cursor.atom()?.to_ascii_uppercase()];
            while !cursor.is_at_end() {
                cursor.space()?;
                if cursor.is_at_end() {
                    break;
                }
                if names.len() >= ENABLE_MAX {
                    return Err(Syntax("Too many capabilities"));
                }
                names.push(cursor.atom()?.to_ascii_uppercase());
            }
            Command::Enable(names)
        }
        "SELECT" | "EXAMINE" => {
            let mailbox = mailbox(cursor)?;
            let mut condstore = false;
            if cursor.peek() == Some(b' ') {
                cursor.space()?;
                if !cursor.is_at_end() {
                    cursor.parenthesised(SELECT_PARAMETERS_MAX, |cursor| match cursor.word("CONDSTORE") {
                        true => {
                            condstore = true;
                            Ok(())
                        }
                        false => Err(Syntax("Unknown SELECT parameter")),
                    })?;
                }
            }
            Command::Select {
                mailbox,
                read_only: name == "EXAMINE",
                condstore,
            }
        }
        "CREATE" => create(cursor)?,
        "DELETE" => Command::Delete(mailbox(cursor)?),
        "RENAME" => {
            let from = mailbox(cursor)?;
            cursor.space()?;
            let to = mailbox(cursor)?
                .without_trailing_separator()
                .map_err(|invalid| Syntax(invalid.0))?;
            Command::Rename { from, to }
        }
        "SUBSCRIBE" => Command::Subscribe(mailbox(cursor)?),
        "UNSUBSCRIBE" => Command::Unsubscribe(mailbox(cursor)?),
        "LIST" => Command::List(List::parse(cursor)?),
        "LSUB" => {
            let (root_only, pattern) = list::parse_reference_and_pattern(cursor)?;
            Command::Lsub { root_only, pattern }
        }
        "STATUS" => {
            let mailbox = mailbox(cursor)?;
            cursor.space()?;
            Command::Status {
                mailbox,
                items: StatusItem::parse_all(cursor)?,
            }
        }
        "GETQUOTA" => Command::GetQuota(cursor.astring()?.into_owned()),
        "GETQUOTAROOT" => Command::GetQuotaRoot(mailbox(cursor)?),
        "SETQUOTA" => {
            cursor.astring()?;
            cursor.space()?;
            cursor.parenthesised(16, |cursor| {
                cursor.atom()?;
                cursor.space()?;
                cursor.number64()
            })?;
            Command::SetQuota
        }
        _ => return Err(Syntax("Unknown command")),
    })
}

fn message_command(name: &str, uid: bool, cursor: &mut Cursor<'_>) -> Parsed<Option<Command>> {
    Ok(Some(match name {
        "SEARCH" => Command::Search {
            uid,
            search: Search::parse(cursor)?,
        },
        "FETCH" => {
            let set = SequenceSet::parse(cursor)?;
            cursor.space()?;
            let items = FetchItem::parse_all(cursor)?;
            let mut changed_since = None;
            if cursor.peek() == Some(b' ') {
                cursor.space()?;
                if !cursor.is_at_end() {
                    changed_since = fetch_modifiers(cursor)?;
                }
            }
            Command::Fetch {
                uid,
                set,
                items,
                changed_since,
            }
        }
        "STORE" => store(uid, cursor)?,
        "COPY" | "MOVE" => {
            let set = SequenceSet::parse(cursor)?;
            cursor.space()?;
            let to = mailbox(cursor)?;
            if name == "COPY" {
                Command::Copy { uid, set, to }
            } else {
                Command::Move { uid, set, to }
            }
        }
        _ => return Ok(None),
    }))
}

fn mailbox(cursor: &mut Cursor<'_>) -> Parsed<MailboxName> {
    MailboxName::from_wire(&cursor.astring()?).map_err(|invalid| Syntax(invalid.0))
}

fn id(cursor: &mut Cursor<'_>) -> Parsed<IdParameters> {
    if cursor.word("NIL") {
        return Ok(Vec::new());
    }
    let text = |bytes: &[u8], bytes_max: usize| {
        if bytes.len() > bytes_max {
            return Err(Syntax("ID string too long"));
        }
        Ok(String::from_utf8_lossy(bytes).into_owned())
    };
    cursor.parenthesised(ID_PAIRS_MAX, |cursor| {
        let name = text(&cursor.string()?, ID_NAME_BYTES_MAX)?;
        cursor.space()?;
        let value = match cursor.nstring()? {
            Some(value) => Some(text(&value, ID_VALUE_BYTES_MAX)?),
            None => None,
        };
        Ok((name, value))
    })
}

fn authenticate(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mechanism = cursor.atom()?.to_ascii_uppercase();
    let mut initial_response = None;
    if cursor.peek() == Some(b' ') {
        cursor.space()?;
        if !cursor.is_at_end() {
            let response = cursor.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
            initial_response = Some(Secret::new(response.to_vec()));
        }
    }
    Ok(Command::Authenticate {
        mechanism,
        initial_response,
    })
}

fn create(cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let mailbox = mailbox(cursor)?
        .without_trailing_separator()
        .map_err(|invalid| Syntax(invalid.0))?;
    let mut special_uses = Vec::new();
    if cursor.peek() == Some(b' ') {
        cursor.space()?;
        if !cursor.is_at_end() {
            cursor.expect(b'(', "Opening parenthesis expected")?;
            if !cursor.word("USE") {
                return Err(Syntax("Unknown CREATE parameter"));
            }
            cursor.space()?;
            special_uses = cursor.parenthesised(SPECIAL_USES_MAX, parse_flag)?;
            cursor.expect(b')', "Closing parenthesis expected")?;
        }
    }
    Ok(Command::Create { mailbox, special_uses })
}

fn fetch_modifiers(cursor: &mut Cursor<'_>) -> Parsed<Option<u64>> {
    let mut changed_since = None;
    cursor.parenthesised(8, |cursor| {
        if cursor.word("CHANGEDSINCE") {
            cursor.space()?;
            changed_since = Some(cursor.number64()?);
            Ok(())
        } else if cursor.word("VANISHED") {
            Err(Syntax("QRESYNC is not supported"))
        } else {
            Err(Syntax("Unknown FETCH modifier"))
        }
    })?;
    Ok(changed_since)
}

fn store(uid: bool, cursor: &mut Cursor<'_>) -> Parsed<Command> {
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.peek() == Some(b'(') {
        cursor.parenthesised(8, |cursor| {
            if !cursor.word("UNCHANGEDSINCE") {
                return Err(Syntax("Unknown STORE modifier"));
            }
            cursor.space()?;
            unchanged_since = Some(cursor.number64()?);
            Ok(())
        })?;
        cursor.space()?;
    }
    let operation = if cursor.take(b'+') {
        StoreOperation::Add
    } else if cursor.take(b'-') {
        StoreOperation::Remove
    } else {
        StoreOperation::Replace
    };
    let silent = match cursor.atom()?.to_ascii_uppercase().as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(Syntax("Unknown item to store")),
    };
    cursor.space()?;
    let flags = FlagList::parse(cursor, false)?;
    Ok(Command::Store(Store {
        uid,
        set,
        unchanged_since,
        operation,
        silent,
        flags,
    }))
}

/// What stands between APPEND (or the message before) and a message's literal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AppendOptions {
    pub(super) flags: FlagList,
    pub(super) internal_date: Option<i64>,
}

/// `SP mailbox`, when the cursor stands behind the command's name.
pub(super) fn append_mailbox(cursor: &mut Cursor<'_>) -> Parsed<MailboxName> {
    cursor.space()?;
    mailbox(cursor)
}

/// `[SP flag-list] [SP date-time] SP`, up to where the literal's announcement was.
pub(super) fn append_options(cursor: &mut Cursor<'_>) -> Parsed<AppendOptions> {
    let mut options = AppendOptions::default();
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        options.flags = FlagList::parse(cursor, true)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        options.internal_date = Some(date::parse_date_time(cursor)?);
        cursor.space()?;
    }
    match cursor.peek() {
        None => Ok(options),
        Some(b'~') => Err(Syntax("BINARY is not supported")),
        Some(_) => Err(Syntax("Invalid APPEND argument")),
    }
}

#[cfg(test)]
mod tests;
