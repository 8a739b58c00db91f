//! Lays the environment and the configuration file under a clap command.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::{BoolishValueParser, Resettable},
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};

use super::{
    environment,
    file::{ConfigFile, FileError},
};

/// Which layer a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag(String),
    /// A variable of the environment.
    Environment(String),
    /// The configuration file.
    File(PathBuf),
    /// Taken from an `up` that runs, or ran, on this machine; says how it was found.
    Found(String),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Found(how) => f.write_str(how),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Names that others use for the same thing, after our own.
const ALIASES: &[(&str, &str)] = &[
    ("database_url", "DATABASE_URL"),
    ("redis_url", "REDIS_URL"),
    ("postgres_bin", "POSTGRES_BIN"),
    ("s3_endpoint", "AWS_ENDPOINT_URL_S3"),
    ("s3_endpoint", "AWS_ENDPOINT_URL"),
    ("s3_region", "AWS_REGION"),
    ("s3_region", "AWS_DEFAULT_REGION"),
];

/// Read before clap is, see [`super::read_config_file`].
const CONFIG: &str = "config";

/// Commands in place of others' programs: their switches come from the command line alone. `quiet`, which a user may have
/// set for all verbs, would be an error with `sum` as it is with `sha256sum`, and scripts know what they asked for.
const WITHOUT_SWITCHES: &[&str] = &["sum"];

/// Which values below the command line came from where, by command and setting.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<(String, String), Origin>);

/// Lays environment and file under every option of `command` and of its subcommands.
pub(crate) fn lay(command: Command, file: &ConfigFile) -> Result<(Command, Origins), FileError> {
    lay_with(command, file, environment)
}

fn lay_with(
    command: Command,
    file: &ConfigFile,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<(Command, Origins), FileError> {
    let mut origins = Origins::default();
    let name = command.get_name().to_owned();
    let command = lay_one(command, &name, file, &environment, &mut origins);
    let command = command.mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        lay_all(sub, &name, file, &environment, &mut origins)
    });

    file.refuse_unknown(|table, name| {
        fn has(command: &Command, table: &str, name: &str) -> bool {
            command.get_arguments().any(|arg| layered(table, arg) && arg.get_id() == name)
        }
        fn takes(command: &Command, table: &str, name: &str) -> bool {
            has(command, table, name) || command.get_subcommands().any(|sub| takes(sub, table, name))
        }
        let mut commands = command.get_subcommands();
        match table {
            None => has(&command, "", name) || commands.any(|sub| takes(sub, sub.get_name(), name)),
            Some(table) => commands.any(|sub| sub.get_name() == table && takes(sub, table, name)),
        }
    })?;
    Ok((command, origins))
}

/// Lays them under a command and all below it. `table` is the command right below `hashmesh`: what it says holds for all of
/// its own commands.
fn lay_all(
    command: Command,
    table: &str,
    file: &ConfigFile,
    environment: &impl Fn(&str) -> Option<OsString>,
    origins: &mut Origins,
) -> Command {
    let command = lay_one(command, table, file, environment, origins);
    command.mut_subcommands(|sub| lay_all(sub, table, file, environment, origins))
}

fn lay_one(
    command: Command,
    table: &str,
    file: &ConfigFile,
    environment: &impl Fn(&str) -> Option<OsString>,
    origins: &mut Origins,
) -> Command {
    command.mut_args(|arg| {
        let id = arg.get_id().to_string();
        let Some((values, origin)) = lower_layers(table, &arg, file, environment) else { return arg };
        origins.0.insert((table.to_owned(), id), origin);
        // As defaults, not by clap's own `env`: a value from below must not count as given where flags conflict.
        // For the same reason a default does not count where an option is required.
        let arg = arg.env(Resettable::Reset).default_values(values).required(false);
        match arg.get_action() {
            // A switch: `1`, `yes`, `on` mean the same as `true`.
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            // Not shown by --help: it may be a password.
            _ => arg.hide_default_value(true),
        }
    })
}

/// Options have layers; positional arguments, and what has no value by design, do not. `table` is the command right below
/// `hashmesh` that the option belongs to.
fn layered(table: &str, arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    arg.get_long().is_some()
        && !matches!(id, "help" | "version" | CONFIG)
        && !(switch && WITHOUT_SWITCHES.contains(&table))
}

fn lower_layers(
    command: &str,
    arg: &Arg,
    file: &ConfigFile,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Option<(Vec<OsString>, Origin)> {
    if !layered(command, arg) {
        return None;
    }
    let id = arg.get_id().as_str();
    let own = format!("HASHMESH_{}", id.to_ascii_uppercase());
    let aliases = ALIASES.iter().filter(|(name, _)| *name == id).map(|(_, alias)| (*alias).to_owned());
    for variable in std::iter::once(own).chain(aliases) {
        let Some(value) = environment(&variable) else { continue };
        let repeatable = matches!(arg.get_action(), ArgAction::Append);
        let values = if repeatable { split_at_commas(&value) } else { vec![value] };
        return Some((values, Origin::Environment(variable)));
    }
    let values = file.get(command, id)?;
    let path = file.path.clone().unwrap_or_default();
    Some((values.iter().map(OsString::from).collect(), Origin::File(path)))
}

fn split_at_commas(value: &OsStr) -> Vec<OsString> {
    // What is not UTF-8 is one value: paths are bytes.
    match value.to_str() {
        Some(text) => text.split(',').filter(|part| !part.is_empty()).map(OsString::from).collect(),
        None => vec![value.to_owned()],
    }
}

impl Origins {
    /// Where the value of a setting of a parsed command came from.
    pub(crate) fn of(&self, command: &str, matches: &ArgMatches, id: &str) -> Origin {
        match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag(id.replace('_', "-")),
            Some(ValueSource::EnvVariable) => Origin::Environment(format!("HASHMESH_{}", id.to_ascii_uppercase())),
            _ => self.below(command, id).cloned().unwrap_or(Origin::Default),
        }
    }

    /// Options of the whole program are kept under its own name, those of a command under the command's.
    fn below(&self, command: &str, id: &str) -> Option<&Origin> {
        let find = |name: &str| self.0.get(&(name.to_owned(), id.to_owned()));
        find(command).or_else(|| find(env!("CARGO_BIN_NAME")))
    }

    /// Which layer a refused value came from, if it was not the command line: clap names the option only.
    pub(crate) fn blame(&self, error: &clap::Error, arguments: &[OsString]) -> Option<String> {
        let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
        let long = option.strip_prefix("--")?.split([' ', '=', '[']).next()?;
        let id = long.replace('-', "_");
        let spelled = format!("--{long}");
        let given = |argument: &OsString| {
            argument.to_str().is_some_and(|text| text == spelled || text.starts_with(&format!("{spelled}=")))
        };
        if arguments.iter().any(given) {
            return None;
        }
        let command = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
        let origin = command.filter_map(|name| self.below(name, &id)).next()?;
        Some(format!("setting `{id}` from {origin}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::value_parser;

    use super::*;

    fn command() -> Command {
        Command::new("hashmesh").subcommand(
            Command::new("up")
                .arg(Arg::new("threads").long("threads").value_parser(value_parser!(u32)).default_value("2"))
                .arg(Arg::new("allow_source").long("allow-source").action(ArgAction::Append))
                .arg(Arg::new("database_url").long("database-url"))
                .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue)),
        )
    }

    fn file(text: &str) -> ConfigFile {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        ConfigFile::read(&path).unwrap()
    }

    fn parse(variables: &[(&str, &str)], text: &str, arguments: &[&str]) -> (ArgMatches, Origins) {
        let environment =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).into());
        let (command, origins) = lay_with(command(), &file(text), environment).unwrap();
        let matches = command.try_get_matches_from([&["hashmesh", "up"], arguments].concat()).unwrap();
        (matches.subcommand_matches("up").unwrap().clone(), origins)
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let threads = |variables: &[(&str, &str)], text: &str, arguments: &[&str]| {
            let (matches, origins) = parse(variables, text, arguments);
            (matches.get_one::<u32>("threads").copied().unwrap(), origins.of("up", &matches, "threads"))
        };
        assert_eq!(threads(&[], "", &[]), (2, Origin::Default));
        let (value, origin) = threads(&[], "threads = 3", &[]);
        assert!(value == 3 && matches!(origin, Origin::File(_)));
        let variables = [("HASHMESH_THREADS", "4")];
        assert_eq!(threads(&variables, "threads = 3", &[]), (4, Origin::Environment("HASHMESH_THREADS".into())));
        assert_eq!(threads(&variables, "threads = 3", &["--threads", "5"]), (5, Origin::Flag("threads".into())));
    }

    #[test]
    fn our_own_name_of_a_variable_beats_its_alias() {
        let url = |variables: &[(&str, &str)]| {
            let (matches, origins) = parse(variables, "database-url = \"file\"", &[]);
            (matches.get_one::<String>("database_url").cloned().unwrap(), origins.of("up", &matches, "database_url"))
        };
        let alias = ("DATABASE_URL", "alias");
        assert_eq!(url(&[alias]), ("alias".into(), Origin::Environment("DATABASE_URL".into())));
        let own = ("HASHMESH_DATABASE_URL", "own");
        assert_eq!(url(&[alias, own]), ("own".into(), Origin::Environment("HASHMESH_DATABASE_URL".into())));
    }

    #[test]
    fn repeatable_options_are_lists_and_switches_are_true_or_false() {
        let (matches, _) = parse(&[("HASHMESH_ALLOW_SOURCE", "/a,/b")], "quiet = true", &[]);
        let sources: Vec<_> = matches.get_many::<String>("allow_source").unwrap().collect();
        assert_eq!(sources, ["/a", "/b"]);
        assert!(matches.get_flag("quiet"));
        let (matches, _) = parse(&[], "allow-source = [\"/a,b\"]", &["--allow-source", "/c,d"]);
        assert_eq!(matches.get_many::<String>("allow_source").unwrap().collect::<Vec<_>>(), ["/c,d"]);
    }

    #[test]
    fn switches_of_a_stand_in_for_another_program_come_from_the_command_line_alone() {
        let sum = || {
            let quiet = Arg::new("quiet").long("quiet").action(ArgAction::SetTrue);
            let threads = Arg::new("threads").long("threads");
            Command::new("sum").arg(quiet).arg(threads)
        };
        let command = || command().subcommand(sum());
        let environment = |name: &str| matches!(name, "HASHMESH_QUIET" | "HASHMESH_THREADS").then(|| "1".into());
        let (laid, _) = lay_with(command(), &file("quiet = true"), environment).unwrap();
        let matches = laid.clone().try_get_matches_from(["hashmesh", "sum"]).unwrap();
        let matches = matches.subcommand_matches("sum").unwrap();
        assert!(!matches.get_flag("quiet"));
        assert_eq!(matches.get_one::<String>("threads").map(String::as_str), Some("1"));
        let matches = laid.try_get_matches_from(["hashmesh", "up"]).unwrap();
        assert!(matches.subcommand_matches("up").unwrap().get_flag("quiet"));
        assert!(lay_with(command(), &file("[sum]\nquiet = true"), |_| None).is_err());
        let alone = || Command::new("hashmesh").subcommand(sum());
        assert!(lay_with(alone(), &file("quiet = true"), |_| None).is_err());
        assert!(lay_with(command(), &file("[sum]\nthreads = 2"), |_| None).is_ok());
    }

    #[test]
    fn a_required_option_may_come_from_any_layer() {
        let queue = || Command::new("hashmesh").subcommand(Command::new("queue").arg(database_url()));
        let database_url = |variables: &[(&str, &str)]| {
            let variables: BTreeMap<_, _> = variables.iter().copied().collect();
            let environment = |name: &str| variables.get(name).map(OsString::from);
            let (command, _) = lay_with(queue(), &ConfigFile::default(), environment).unwrap();
            command.try_get_matches_from(["hashmesh", "queue"]).is_ok()
        };
        assert!(!database_url(&[]));
        assert!(database_url(&[("DATABASE_URL", "postgresql:///x")]));
    }

    fn database_url() -> Arg {
        Arg::new("database_url").long("database-url").required(true)
    }

    #[test]
    fn a_refused_value_is_blamed_on_the_layer_it_came_from() {
        let environment = |name: &str| (name == "HASHMESH_THREADS").then(|| "many".into());
        let (command, origins) = lay_with(command(), &ConfigFile::default(), environment).unwrap();
        let blame = |list: &[&str]| {
            let arguments: Vec<OsString> = list.iter().map(OsString::from).collect();
            let error = command.clone().try_get_matches_from(&arguments).unwrap_err();
            origins.blame(&error, &arguments)
        };
        let expected = "setting `threads` from environment variable HASHMESH_THREADS";
        assert_eq!(blame(&["hashmesh", "up"]).as_deref(), Some(expected));
        assert_eq!(blame(&["hashmesh", "up", "--threads", "few"]), None);
    }
}
