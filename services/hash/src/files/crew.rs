//! The threads.

use std::{
    fs::File,
    io,
    num::NonZeroUsize,
    ops::ControlFlow,
    os::fd::AsFd as _,
    thread::{self, Scope},
};

use hashmesh::algorithm::stride;

use super::{
    ahead::{Helpers, digest_alone},
    board::{Board, Duty},
    disk::Foresight,
    inputs::SmallInputs,
    large::{Ended, Large, What, read_side_by_side},
    open::Neighbours,
    run::{Entry, Input, Outcome, RUN_ENTRIES, Run},
    small::{Opened, SMALL_BYTES, ask_for, read_small},
};
use crate::{Recipe, digest_many};

/// Small files that are read before they are digested together, and a thread's buffer for them. They are still in the CPU's
/// cache then.
const SMALL_BUFFER_BYTES: usize = 256 * 1024;

/// Digests what each entry of `source` names by the recipe that it names, and tells `sink` of each in the order of the source:
/// the digests of the recipe's algorithms, concatenated; why it could not be read; or nothing, for an entry that names nothing.
/// `sink` may break off. On the caller's thread and up to `threads` − 1 others, as far as there is work for them; they have ended when this
/// returns.
///
/// Files may change while they are read: what was read is what is digested.
pub fn digest_files<S, E, K>(recipes: &[Recipe], threads: NonZeroUsize, source: S, sink: K) -> Option<K>
where
    S: Iterator<Item = E> + Send,
    E: Entry,
    K: FnMut(E, Option<io::Result<&[u8]>>) -> ControlFlow<()> + Send,
{
    let board = Board::new(source, sink, threads.get());
    let helpers = Helpers::new("sum", threads.get());
    let crew = Crew { board: &board, recipes, helpers: &helpers };
    thread::scope(|scope| crew.work(scope));
    board.into_sink()
}

#[derive(Debug)]
struct Crew<'a, S, E, K> {
    board: &'a Board<S, E, K>,
    recipes: &'a [Recipe],
    helpers: &'a Helpers,
}

impl<S, E, K> Clone for Crew<'_, S, E, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, E, K> Copy for Crew<'_, S, E, K> {}

/// What a thread reads small files with.
#[derive(Debug)]
struct Reading {
    inputs: SmallInputs,
    foresight: Foresight,
}

impl Reading {
    fn new() -> Self {
        let inputs = SmallInputs::new(SMALL_BUFFER_BYTES + SMALL_BYTES + 1);
        Self { inputs, foresight: Foresight::new() }
    }
}

/// Lets the others end if this thread panics.
#[derive(Debug)]
struct OnPanic<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

impl<'a, S, E, K> Crew<'a, S, E, K>
where
    S: Iterator<Item = E> + Send,
    E: Entry,
    K: FnMut(E, Option<io::Result<&[u8]>>) -> ControlFlow<()> + Send,
{
    /// Works until nothing is left.
    fn work<'scope>(self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
        S: 'scope,
        E: 'scope,
        K: 'scope,
    {
        let _stops = OnPanic(|| self.board.stop());
        let mut reading = Reading::new();
        while let Some(duty) = self.board.next() {
            match duty {
                Duty::Take { source, number } => self.take(scope, source, number, &mut reading),
                Duty::ReadStream(stream) => {
                    self.hire(scope);
                    self.read_alone(stream, false);
                    self.board.have_read();
                }
                Duty::Read(large) => {
                    self.hire(scope);
                    let next = |read| self.board.next_large(read);
                    read_side_by_side(self.recipes, large, next, |ended| self.board.fill(ended));
                    self.board.have_read();
                }
                Duty::ReadLast(large) => {
                    self.read_alone(large, true);
                    self.board.have_read();
                }
            }
        }
    }

    /// Another thread, if there is work for it and the system allows one; else there are fewer.
    fn hire<'scope>(self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
        S: 'scope,
        E: 'scope,
        K: 'scope,
    {
        if self.board.hires() {
            let _refused = thread::Builder::new().name("sum".to_owned()).spawn_scoped(scope, move || self.work(scope));
        }
    }

    fn take<'scope>(self, scope: &'scope Scope<'scope, '_>, mut source: S, number: u64, reading: &mut Reading)
    where
        'a: 'scope,
        S: 'scope,
        E: 'scope,
        K: 'scope,
    {
        let mut entries = Vec::with_capacity(RUN_ENTRIES);
        let mut stdin = false;
        while entries.len() < RUN_ENTRIES && !stdin {
            let Some(entry) = source.next() else { break };
            stdin = entry.input() == Input::Stdin;
            entries.push(entry);
        }
        let ended = entries.len() < RUN_ENTRIES && !stdin;
        let mut source = (!ended).then_some(source);
        // Standard input is read by one at a time, in order: while this thread keeps the source, nobody else can take it.
        if !stdin {
            self.board.give_back(source.take());
            self.hire(scope);
        }
        let mut run = Run::new(entries);
        let large = self.read_smalls(number, &mut run, reading);
        if stdin {
            let last = run.len() - 1;
            let mut digests = Vec::new();
            match self.read_stdin(run.entry(last).map_or(0, Entry::recipe), &mut digests) {
                Ok(()) => run.keep(last, &digests),
                Err(error) => run.set(last, Outcome::Failed(error)),
            }
            self.board.give_back(source);
        }
        self.board.post(number, run, large);
        self.hire(scope);
    }

    /// Digests the small files of a run, and returns the large ones.
    fn read_smalls(self, number: u64, run: &mut Run<E>, reading: &mut Reading) -> Vec<Large> {
        let Reading { inputs, foresight } = reading;
        let mut large = Vec::new();
        // The places of what is among the inputs, with their recipes.
        let mut read: Vec<(usize, usize)> = Vec::with_capacity(run.len());
        foresight.begin();
        let mut neighbours = Neighbours::default();
        for index in 0..run.len() {
            let Some(entry) = run.entry(index) else { continue };
            let recipe = entry.recipe();
            let path = match entry.input() {
                Input::File(path) => path,
                Input::Stdin => continue,
                Input::Nothing => {
                    run.set(index, Outcome::Nothing);
                    continue;
                }
            };
            let mut waited = false;
            let waits = || {
                waited = true;
                ask_for(run.paths(foresight.missed(index, run.len())));
            };
            match neighbours.open(path).and_then(|file| read_small(file, inputs, waits)) {
                Ok(Opened::Small) => {
                    read.push((index, recipe));
                    if !waited {
                        foresight.found(index);
                    }
                }
                Ok(Opened::Large) => {
                    let what = What::Path(path.to_owned());
                    large.push(Large { run: number, index, recipe, what });
                }
                Ok(Opened::Stream(file)) => {
                    large.push(Large { run: number, index, recipe, what: What::Open(file) });
                }
                Err(error) => run.set(index, Outcome::Failed(error)),
            }
            if inputs.room().len() <= SMALL_BYTES {
                self.digest_smalls(run, &mut read, inputs);
            }
        }
        self.digest_smalls(run, &mut read, inputs);
        large
    }

    /// Digests the inputs, all of one recipe in one call.
    fn digest_smalls(self, run: &mut Run<E>, read: &mut Vec<(usize, usize)>, inputs: &mut SmallInputs) {
        let mut digests = Vec::new();
        while let Some((_, chosen)) = read.iter().copied().find(|(index, _)| run.awaits(*index)) {
            let same = inputs.iter().zip(&*read).filter(|(_, (_, recipe))| *recipe == chosen);
            let recipe = &self.recipes[chosen];
            digests.clear();
            let trusted = digest_many(recipe, same.map(|(input, _)| input), &mut digests);
            let stride = stride(recipe);
            let places = read.iter().filter(|(_, recipe)| *recipe == chosen);
            for (number, (index, _)) in places.enumerate() {
                if let Err(untrusted) = &trusted {
                    run.set(*index, Outcome::Failed(io::Error::other(untrusted.clone())));
                    continue;
                }
                run.keep(*index, digests.get(number * stride..(number + 1) * stride).unwrap_or_default());
            }
        }
        read.clear();
        inputs.clear();
    }

    fn read_stdin(self, recipe: usize, digests: &mut Vec<u8>) -> io::Result<()> {
        // Not by the standard library's handle, which takes a closed one for an empty one.
        let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        self.digest(&self.recipes[recipe], &mut stdin, self.board.threads() > 1, digests)
    }

    fn read_alone(self, large: Large, helped: bool) {
        let Large { run, index, recipe, what } = large;
        let mut digests = Vec::new();
        let read = what.open().and_then(|mut file| self.digest(&self.recipes[recipe], &mut file, helped, &mut digests));
        self.board.fill(Ended { run, index, digests: read.map(|()| digests) });
    }

    fn digest(self, recipe: &Recipe, file: &mut File, helped: bool, digests: &mut Vec<u8>) -> io::Result<()> {
        let help = if helped { self.helpers.turn() } else { None };
        match help {
            Some(help) => help.digest(recipe, file, digests),
            None => digest_alone(recipe, file, digests),
        }
    }
}
