//! Static itabs: which methods a concrete type answers an interface with (`internal/abi/iface.go`).

use super::{
    Error, Type,
    image::Image,
    module::{Links, Module},
};

/// One concrete type as one interface.
#[derive(Clone, Copy)]
pub struct Itab<'e> {
    /// Its address: the first word of an interface value that holds the concrete type.
    pub address: u64,
    /// The interface.
    pub interface: Type<'e>,
    /// The concrete type.
    pub concrete: Type<'e>,
    image: &'e Image<'e>,
}

/// Where the first method is in an itab; the others follow, a word each, sorted by name.
pub const METHODS: u64 = 24;
const CONCRETE: u64 = 8;
/// A type with more itabs than that is not one that anybody asks for.
const MAX_ITABS: usize = 1024;

impl Itab<'_> {
    /// The offset in the itab of the method that is the function at an address; `None` if it is not one of them.
    pub fn slot_of(&self, function: u64) -> Result<Option<u64>, Error> {
        for offset in (0..self.interface.method_count()?).map(|index| METHODS + 8 * index) {
            if self.image.pointer(self.address.wrapping_add(offset))? == function {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }
}

pub(super) fn find<'e>(image: &'e Image<'e>, module: &'e Module, concrete: &[Type<'_>]) -> Result<Vec<Itab<'e>>, Error> {
    let mut found = Vec::new();
    let mut take = |address: u64| {
        let held = image.pointer(address.wrapping_add(CONCRETE))?;
        if !concrete.iter().any(|t| t.address() == held) {
            return Ok(());
        }
        if found.len() == MAX_ITABS {
            return Err(Error::malformed("too many itabs of one type", held));
        }
        let interface = Type::at(image, module, image.pointer(address)?)?;
        found.push(Itab { address, interface, concrete: Type::at(image, module, held)?, image });
        Ok(())
    };
    match module.links {
        Links::Listed { itabs, .. } => {
            for place in (0..itabs.count).map(|index| itabs.address.wrapping_add(8 * index)) {
                take(image.pointer(place)?)?;
            }
        }
        Links::Walked { itabs: (mut address, end), .. } => {
            while address < end {
                take(address)?;
                address = address.saturating_add(size_of(image, module, address)?);
            }
        }
    }
    Ok(found)
}

/// Bytes of an itab: `abi.ITab.Size`.
fn size_of(image: &Image<'_>, module: &Module, address: u64) -> Result<u64, Error> {
    if image.pointer(address.wrapping_add(METHODS))? == 0 {
        return Ok(METHODS + 8);
    }
    let methods = Type::at(image, module, image.pointer(address)?)?.method_count()?;
    Ok(METHODS + 8 * methods.max(1))
}
