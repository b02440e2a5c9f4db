//! What a power cut may leave on a disk: drawn from a seed, or chosen sector by sector and name by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use lograft_os::PAGE_BYTES;
use lograft_os::threads::Mutex;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::contents::{Contents, page_of};
use super::{Disk, MemOs};

/// The unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;
/// How many sectors a page has.
pub const SECTORS_IN_PAGE: usize = PAGE_BYTES / SECTOR_BYTES;

/// What a power cut may lose: pages written and names changed since they were last made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unflushed {
    /// The pages, file by file.
    pub pages: Vec<UnflushedPage>,
    /// How many name changes.
    pub names: usize,
}

/// A page that was written and not flushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnflushedPage {
    file: usize,
    page: usize,
    /// The number of the newest version; 0 is the durable one.
    pub newest: usize,
    /// For each sector, the versions that differ from all earlier ones, in order. The first is 0.
    pub sectors: [Vec<usize>; SECTORS_IN_PAGE],
}

/// What one power cut leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PowerCut {
    /// For each page of [`Unflushed`], the version that each of its sectors has on the disk; 0 is the durable
    /// one.
    pub sectors: Vec<[usize; SECTORS_IN_PAGE]>,
    /// For each name change, whether it survives.
    pub names: Vec<bool>,
}

impl PowerCut {
    /// Everything that was not flushed is lost.
    pub fn lose_all(unflushed: &Unflushed) -> Self {
        Self {
            sectors: vec![[0; SECTORS_IN_PAGE]; unflushed.pages.len()],
            names: vec![false; unflushed.names],
        }
    }

    /// Everything survives, as if it had been flushed.
    pub fn lose_nothing(unflushed: &Unflushed) -> Self {
        Self {
            sectors: unflushed.pages.iter().map(|page| [page.newest; SECTORS_IN_PAGE]).collect(),
            names: vec![true; unflushed.names],
        }
    }

    /// Any outcome, drawn from a seed.
    pub fn random(unflushed: &Unflushed, seed: u64) -> Self {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut sectors = Vec::with_capacity(unflushed.pages.len());
        for page in &unflushed.pages {
            let torn = chance.next_u32().is_multiple_of(4);
            let whole = choose(page.newest, &mut chance);
            sectors
                .push(std::array::from_fn(|_| if torn { choose(page.newest, &mut chance) } else { whole }));
        }
        // Half the time all name changes survive or none does: the likely cases in practice.
        let habit = chance.next_u32() % 4;
        let names = (0..unflushed.names).map(|_| match habit {
            0 => false,
            1 => true,
            _ => chance.next_u32().is_multiple_of(2),
        });
        Self { names: names.collect(), sectors }
    }

    /// Replaces each version by the oldest one with the same bytes, so that power cuts that leave the same
    /// disk are equal.
    #[must_use]
    pub fn canonical(mut self, unflushed: &Unflushed, os: &MemOs) -> Self {
        let disk = os.lock();
        for (chosen, page) in self.sectors.iter_mut().zip(&unflushed.pages) {
            let contents = &disk.files[page.file];
            for (sector, version) in chosen.iter_mut().enumerate() {
                let bytes = contents.sector(page.page, *version, sector);
                let mut alike = page.sectors[sector].iter().copied();
                *version = alike
                    .find(|&other| contents.sector(page.page, other, sector) == bytes)
                    .expect("each version equals itself");
            }
        }
        self
    }
}

/// Picks a version, from the durable one to the newest.
fn choose(newest: usize, chance: &mut Xoshiro256PlusPlus) -> usize {
    let pick = chance.next_u64() % (newest as u64 + 1);
    usize::try_from(pick).expect("it is at most `newest`")
}

impl Contents {
    /// A sector of a page in one of its versions; shorter or empty at the end of the file.
    fn sector(&self, page: usize, version: usize, sector: usize) -> &[u8] {
        let bytes: &[u8] = match version.checked_sub(1) {
            None => page_of(&self.durable, page),
            Some(newer) => &self.dirty[&page][newer],
        };
        let from = sector * SECTOR_BYTES;
        bytes.get(from..bytes.len().min(from + SECTOR_BYTES)).unwrap_or_default()
    }
}

impl MemOs {
    /// The disk after a power cut now, drawn from a seed. `self` is unchanged.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.cut_power(&PowerCut::random(&self.unflushed(), seed))
    }

    /// What a power cut could lose now.
    pub fn unflushed(&self) -> Unflushed {
        let disk = self.lock();
        let mut pages = Vec::new();
        for (file, contents) in disk.files.iter().enumerate() {
            for (&page, versions) in &contents.dirty {
                let sectors = std::array::from_fn(|sector| {
                    let mut differing = vec![0];
                    for version in 1..=versions.len() {
                        let bytes = contents.sector(page, version, sector);
                        if differing.iter().all(|&other| contents.sector(page, other, sector) != bytes) {
                            differing.push(version);
                        }
                    }
                    differing
                });
                pages.push(UnflushedPage { file, page, newest: versions.len(), sectors });
            }
        }
        Unflushed { pages, names: disk.pending.len() }
    }

    /// The disk after this power cut, which was made for this disk. `self` is unchanged.
    #[must_use]
    pub fn cut_power(&self, cut: &PowerCut) -> Self {
        let disk = self.lock();
        let mut chosen = cut.sectors.iter();
        let mut files = Vec::with_capacity(disk.files.len());
        for contents in &disk.files {
            let mut durable = Arc::clone(&contents.durable);
            for (&page, versions) in contents.dirty.keys().zip(chosen.by_ref()) {
                for (sector, &version) in versions.iter().enumerate().filter(|(_, version)| **version > 0) {
                    let source = contents.sector(page, version, sector);
                    let start = page * PAGE_BYTES + sector * SECTOR_BYTES;
                    Arc::make_mut(&mut durable)[start..start + source.len()].copy_from_slice(source);
                }
            }
            files.push(Contents { cached: Arc::clone(&durable), durable, dirty: BTreeMap::new() });
        }
        let mut names = disk.durable_names.clone();
        for (change, _) in disk.pending.iter().zip(&cut.names).filter(|(_, survives)| **survives) {
            change.apply(&mut names);
        }
        let after = Disk {
            files,
            durable_names: names.clone(),
            names,
            free_bytes: disk.free_bytes,
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(after)) }
    }

    /// Describes what this power cut, which was made for this disk, leaves of the unflushed data.
    pub fn describe(&self, cut: &PowerCut) -> String {
        let disk = self.lock();
        let mut text = String::new();
        let pages = disk.files.iter().enumerate().flat_map(|(file, contents)| {
            contents.dirty.iter().map(move |(page, versions)| (file, page, versions.len()))
        });
        for ((file, page, newest), versions) in pages.zip(&cut.sectors) {
            let name = disk.name_of(file);
            let _ = write!(text, "{name} page {page} of versions 0 to {newest}: ");
            let _ = match versions {
                [first, rest @ ..] if rest.iter().all(|version| version == first) => {
                    write!(text, "{first}; ")
                }
                torn => write!(text, "torn {torn:?}; "),
            };
        }
        for (change, survives) in disk.pending.iter().zip(&cut.names) {
            let _ = write!(text, "{} {change}; ", if *survives { "kept:" } else { "lost:" });
        }
        if text.is_empty() {
            text.push_str("nothing was unflushed");
        }
        text.trim_end_matches("; ").to_owned()
    }
}
