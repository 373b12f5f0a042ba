// Barriers, shuffles and votes. The barrier's line is part of the message when somebody does not come.
#pragma once

#include <cstring>

#include "shim/fibers.h"

inline void __syncthreads(int line = __builtin_LINE()) {
    eamfmeg_shim::scheduler.wait_for_block(line);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
    eamfmeg_shim::scheduler.wait_for_warp(mask, nullptr, nullptr, line);
}

inline void __threadfence() {}
inline void __threadfence_block() {}

namespace [[gnu::visibility("hidden")]] eamfmeg_shim {

// What a lane reads that hands nothing in: undefined on a device, not a number here.
template <class T>
T poison() {
    T value;
    std::memset(&value, 0xff, sizeof(T));
    return value;
}

template <class T>
struct Shuffle {
    T value, result;
    unsigned from;  // lane to read

    static void together(void* const* lanes, unsigned mask) {
        for (unsigned lane = 0; lane < warpSize; ++lane) {
            if (!(mask >> lane & 1)) continue;
            Shuffle& mine = *static_cast<Shuffle*>(lanes[lane]);
            const auto* theirs = static_cast<const Shuffle*>(lanes[mine.from % warpSize]);
            mine.result = theirs ? theirs->value : poison<T>();
        }
    }
};

template <class T>
T shuffle(unsigned mask, T value, unsigned from, int line) {
    Shuffle<T> shuffle{value, value, from};
    scheduler.wait_for_warp(mask, &Shuffle<T>::together, &shuffle, line);
    return shuffle.result;
}

struct Ballot {
    bool vote;
    unsigned result;

    static void together(void* const* lanes, unsigned) {
        unsigned votes = 0;
        for (unsigned lane = 0; lane < warpSize; ++lane) {
            if (lanes[lane] && static_cast<const Ballot*>(lanes[lane])->vote) votes |= 1u << lane;
        }
        for (unsigned lane = 0; lane < warpSize; ++lane) {
            if (lanes[lane]) static_cast<Ballot*>(lanes[lane])->result = votes;
        }
    }
};

}  // namespace eamfmeg_shim

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = warpSize, int line = __builtin_LINE()) {
    const unsigned lane = eamfmeg_shim::scheduler.lane(), w = static_cast<unsigned>(width);
    return eamfmeg_shim::shuffle(mask, value, lane / w * w + static_cast<unsigned>(from) % w, line);
}

// A lane whose partner lies beyond its group keeps its own value.
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, int line = __builtin_LINE()) {
    const unsigned lane = eamfmeg_shim::scheduler.lane(), w = static_cast<unsigned>(width);
    return eamfmeg_shim::shuffle(mask, value, lane % w < delta ? lane : lane - delta, line);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, int line = __builtin_LINE()) {
    const unsigned lane = eamfmeg_shim::scheduler.lane(), w = static_cast<unsigned>(width);
    return eamfmeg_shim::shuffle(mask, value, lane % w + delta < w ? lane + delta : lane, line);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, int line = __builtin_LINE()) {
    const unsigned lane = eamfmeg_shim::scheduler.lane(), w = static_cast<unsigned>(width);
    const unsigned from = lane ^ static_cast<unsigned>(bits);
    // As the device does: lanes of earlier groups may be read, those of later ones not.
    return eamfmeg_shim::shuffle(mask, value, from / w <= lane / w ? from : lane, line);
}

inline unsigned __ballot_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    eamfmeg_shim::Ballot ballot{vote != 0, 0};
    eamfmeg_shim::scheduler.wait_for_warp(mask, &eamfmeg_shim::Ballot::together, &ballot, line);
    return ballot.result;
}

inline int __any_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return __ballot_sync(mask, vote, line) != 0;
}

inline int __all_sync(unsigned mask, int vote, int line = __builtin_LINE()) {
    return __ballot_sync(mask, !vote, line) == 0;
}

inline unsigned __activemask() {
    return 1u << eamfmeg_shim::scheduler.lane();
}
