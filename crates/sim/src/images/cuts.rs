//! Chooses the power cuts to try at one moment: all of them if they are few, otherwise the extremes and a
//! sample.

use std::collections::BTreeSet;

use lograft_mem_os::{MemOs, PowerCut, SECTORS_IN_PAGE, Unflushed};

use crate::chance::Chance;

/// Power cuts at this moment that leave different disks: at most `most`, and at least two if two exist.
///
/// The first one loses everything.
pub(super) fn power_cuts(os: &MemOs, most: usize, chance: &mut Chance) -> Vec<PowerCut> {
    let unflushed = os.unflushed();
    let most = most.max(2);
    if outcomes(&unflushed) <= most as u64 {
        return every(&unflushed);
    }
    let mut tried = BTreeSet::new();
    let mut cuts = Vec::new();
    let mut try_out = |cut: PowerCut| {
        let cut = cut.canonical(&unflushed, os);
        if tried.insert(cut.clone()) {
            cuts.push(cut);
        }
        cuts.len()
    };
    try_out(PowerCut::lose_all(&unflushed));
    try_out(PowerCut::lose_nothing(&unflushed));
    // Some cuts are drawn twice, so the loop must end even if not all were found.
    for _ in 0..8 * most {
        if try_out(any(&unflushed, chance)) >= most {
            break;
        }
    }
    cuts
}

/// The number of different disks there may be.
fn outcomes(unflushed: &Unflushed) -> u64 {
    let sectors = unflushed.pages.iter().flat_map(|page| &page.sectors);
    let names = 1_u64.checked_shl(u32::try_from(unflushed.names).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
    sectors.fold(names, |outcomes, versions| outcomes.saturating_mul(versions.len() as u64))
}

/// All power cuts that leave different disks.
fn every(unflushed: &Unflushed) -> Vec<PowerCut> {
    let mut cuts = vec![PowerCut::lose_all(unflushed)];
    let mut multiply = |change: &dyn Fn(&PowerCut, &mut Vec<PowerCut>)| {
        let mut more = Vec::new();
        for cut in &cuts {
            change(cut, &mut more);
        }
        cuts.append(&mut more);
    };
    for (at, page) in unflushed.pages.iter().enumerate() {
        for (sector, versions) in page.sectors.iter().enumerate() {
            multiply(&|cut, more| {
                for &version in &versions[1..] {
                    let mut other = cut.clone();
                    other.sectors[at][sector] = version;
                    more.push(other);
                }
            });
        }
    }
    for at in 0..unflushed.names {
        multiply(&|cut, more| {
            let mut other = cut.clone();
            other.names[at] = true;
            more.push(other);
        });
    }
    cuts
}

/// A random power cut.
fn any(unflushed: &Unflushed, chance: &mut Chance) -> PowerCut {
    let pages = unflushed.pages.len();
    if pages == 0 {
        return PowerCut::random(unflushed, chance.seed());
    }
    let one = chance.index(pages);
    let newest = [unflushed.pages[one].newest; SECTORS_IN_PAGE];
    let nothing_lost = PowerCut::lose_nothing(unflushed);
    match chance.below(8) {
        // One page alone, or all but one.
        0 => {
            let mut cut = PowerCut::lose_all(unflushed);
            cut.sectors[one] = newest;
            cut.names = nothing_lost.names;
            cut
        }
        1 => {
            let mut cut = nothing_lost;
            cut.sectors[one] = [0; SECTORS_IN_PAGE];
            cut
        }
        // One page is torn in two; the others survive.
        2 => {
            let mut cut = nothing_lost;
            let tear = chance.index(SECTORS_IN_PAGE);
            cut.sectors[one][tear..].fill(0);
            cut
        }
        3 => {
            let mut cut = nothing_lost;
            let tear = chance.index(SECTORS_IN_PAGE);
            cut.sectors[one][..tear].fill(0);
            cut
        }
        // One sector is missing, or is the only one.
        4 => {
            let mut cut = nothing_lost;
            cut.sectors[one][chance.index(SECTORS_IN_PAGE)] = 0;
            cut
        }
        5 => {
            let mut cut = nothing_lost;
            for sectors in &mut cut.sectors {
                sectors.fill(0);
            }
            let sector = chance.index(SECTORS_IN_PAGE);
            cut.sectors[one][sector] = newest[sector];
            cut
        }
        _ => PowerCut::random(unflushed, chance.seed()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lograft_os::{Os, Segment};

    use super::*;

    /// A disk with this many unflushed sectors in each page, each sector written once.
    fn disk(sectors_of_pages: &[usize]) -> MemOs {
        let os = MemOs::new();
        let path = Path::new("/d/s");
        os.prepare(path, b"", 4096 * sectors_of_pages.len() as u64).expect("the disk has space");
        os.sync_dir(Path::new("/d")).expect("it works");
        let mut segment = os.map(path).expect("the file exists");
        for (page, &sectors) in sectors_of_pages.iter().enumerate() {
            if sectors > 0 {
                segment.write(4096 * page as u64, &vec![1; 512 * sectors]).expect("it fits");
            }
        }
        os
    }

    fn distinct(os: &MemOs, cuts: &[PowerCut]) -> usize {
        let contents = |cut| os.cut_power(cut).contents(Path::new("/d/s"));
        cuts.iter().map(contents).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn few_outcomes_are_all_tried() {
        for (sectors, outcomes) in [(vec![0], 1), (vec![1], 2), (vec![3], 8), (vec![1, 0, 2], 8)] {
            let os = disk(&sectors);
            let cuts = power_cuts(&os, 8, &mut Chance::new(1, 1));
            assert_eq!(cuts.len(), outcomes, "{sectors:?}");
            assert_eq!(distinct(&os, &cuts), outcomes, "{sectors:?}");
        }
    }

    #[test]
    fn of_many_outcomes_different_ones_are_tried_and_the_extremes_among_them() {
        let os = disk(&[8, 8, 3]);
        let cuts = power_cuts(&os, 20, &mut Chance::new(1, 1));
        assert_eq!(cuts.len(), 20);
        assert_eq!(distinct(&os, &cuts), 20);
        let unflushed = os.unflushed();
        assert_eq!(cuts[0], PowerCut::lose_all(&unflushed));
        assert_eq!(cuts[1], PowerCut::lose_nothing(&unflushed).canonical(&unflushed, &os));
    }
}
