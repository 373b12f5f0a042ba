// Which vector instructions run: the best that the processor has, or fewer when a test asks for fewer.
#pragma once

namespace eamfmeg {

enum Isa : int { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

// The level in use. Asked once per call of an operator, not per element.
Isa isa();

// Where the pixel loops of one thread go below this many multiply-adds, a team of threads costs more than it brings.
constexpr long kWorthATeam = 1 << 16;

}  // namespace eamfmeg

// Use at most this level from now on; -1 lifts the limit. Returns the level that is then in use.
extern "C" int eamfmeg_limit_isa(int level);
