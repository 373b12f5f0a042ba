// compose on the CPU. Versions: 1. a part of a row at a time: displacements, weights and blending a vector of pixels at a
// time, the 16 taps of a pixel as vectors of its colours.
#include <memory>
#include <new>

#include "common/threads.h"
#include "compose/compose.h"

namespace eamfmeg {

// Pixels that are computed together: a multiple of every vector.
constexpr std::int64_t kComposeSpan = 128;

typedef float ComposePixel __attribute__((vector_size(16)));

// Between which cells a pixel lies, its share of the second, and what is added to its displacement.
struct ComposePlace {
    std::int32_t cell, next;
    float share, offset;
};

// One axis: `cells` of the flow enlarged to `length` pixels. With displacements in pixels, and relative to where each cell
// lies, the rounding errors are those of small numbers: they would else be those of positions in a whole picture.
struct ComposeAxis {
    const ComposePlace* places;
    std::int64_t cells, length;
    bool corners;
    double scale, first, step;

    // How far a coordinate of cell `k` lies from where that cell is.
    float pixels_off(float coordinate, std::int64_t k) const {
        if (corners) return static_cast<float>(coordinate * scale + (first - step * static_cast<double>(k)));
        return (coordinate - axis_at(k, cells, kCentres)) * static_cast<float>(scale);
    }
};

// The arrays of one image.
struct ComposeMap {
    const float *logits, *picture, *grain, *flow, *occlusion;
    ComposeAxis across, down;
};

}  // namespace eamfmeg

#define EAMFMEG_LOOPS "compose/compose_loops.h"
#include "common/every_isa.h"

namespace eamfmeg {
namespace {

// Multiply-adds of a pixel with a picture, about.
constexpr std::int64_t kPixelWork = 100;

// Fills `places`, one for each pixel. An enlarged cell k covers `step` pixels from `step` k on.
ComposeAxis make_axis(ComposePlace* places, std::int64_t length, std::int64_t cells, bool corners, bool align) {
    const std::int64_t step = length / cells;
    const double n = static_cast<double>(length);
    const ComposeAxis axis{places,
                           cells,
                           length,
                           corners,
                           0.5 * (align ? n - 1.0 : n),
                           0.5 * (n - static_cast<double>(step)),
                           static_cast<double>(step)};
    for (std::int64_t i = 0; i < length; ++i) {
        // In halves of a pixel, from the centre of the first cell.
        const std::int64_t at = std::max<std::int64_t>(2 * i + 1 - step, 0), cell = at / (2 * step);
        const double share = static_cast<double>(at % (2 * step)) / static_cast<double>(2 * step);
        const std::int64_t next = std::min(cell + 1, cells - 1);
        // Of the grid with corners, the positions are enlarged: outside the outer centres they stay where those are.
        const double centre = static_cast<double>(step * cell) + 0.5 * static_cast<double>(step - 1);
        const double enlarged = centre + static_cast<double>(step * (next - cell)) * share;
        const double of_centres = align ? 0.5 - (static_cast<double>(i) + 0.5) / n : 0.0;
        const double offset = corners ? enlarged - static_cast<double>(i) : of_centres;
        places[i] = {static_cast<std::int32_t>(cell), static_cast<std::int32_t>(next), static_cast<float>(share),
                     static_cast<float>(offset)};
    }
    return axis;
}

// What is drawn: images, or squares of them, a row of each at a time.
struct ComposeWork {
    const std::int32_t* tiles;
    std::int64_t squares, height, width;
};

// Row `item` of the work.
void draw_row(std::uint8_t* out, const ComposeMap& all, const ComposeWork& work, std::int64_t item, Mutant mutant) {
    const std::int64_t h = all.down.length, w = all.across.length, cells = all.down.cells * all.across.cells;
    std::int64_t image = item / work.height, y = item % work.height, x = 0;
    if (work.tiles != nullptr) {
        const std::int64_t number = work.tiles[image], columns = w / work.width, rows = h / work.height;
        image = number / columns / rows;
        y += number / columns % rows * work.height;
        x = number % columns * work.width;
    }
    ComposeMap map = all;
    const std::int64_t numbers = image * h * w * 3;
    map.logits += numbers;
    if (map.grain != nullptr) map.grain += numbers;
    if (map.picture != nullptr && !mutant.is(kComposePictureOfTheFirst)) map.picture += numbers;
    map.flow += image * cells * 2;
    map.occlusion += image * cells;
    for (std::int64_t i = 0; i < work.width; i += kComposeSpan) {
        const std::int64_t count = std::min(work.width - i, kComposeSpan);
        EAMFMEG_RUN(compose_span(out + numbers, map, y, x + i, count, mutant));
    }
}

}  // namespace
}  // namespace eamfmeg

extern "C" int eamfmeg_compose_cpu(std::uint8_t* out, const float* logits, const float* picture, const float* grain,
                                   std::int64_t n, std::int64_t h, std::int64_t w, const float* flow,
                                   const float* occlusion, std::int64_t rows, std::int64_t columns, std::int64_t grid,
                                   std::int64_t align_corners, const std::int32_t* tiles, std::int64_t count,
                                   std::int64_t tile) {
    using namespace eamfmeg;
    const Mutant mutant = current_mutant();
    if (n * h * w == 0 || count == 0) return kOk;
    if (rows < 1 || columns < 1 || h % rows != 0 || w % columns != 0) return kTooLarge;
    const bool corners = (grid == kCorners) != mutant.is(kComposeOtherPixelGrid);
    const bool align = (align_corners != 0) != mutant.is(kComposeAlignCornersReversed);
    const std::unique_ptr<ComposePlace[]> places(new (std::nothrow) ComposePlace[w + h]);
    if (!places) return kTooLarge;
    const ComposeMap map{logits,
                         picture,
                         grain,
                         flow,
                         occlusion,
                         make_axis(places.get(), w, columns, corners, align),
                         make_axis(places.get() + w, h, rows, corners, align)};
    const ComposeWork work = count < 0 ? ComposeWork{nullptr, n, h, w} : ComposeWork{tiles, count, tile, tile};
    const std::int64_t items = work.squares * work.height;
    const int threads = team_for(items * work.width * kPixelWork);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (std::int64_t item = 0; item < items; ++item) draw_row(out, map, work, item, mutant);
    if (mutant.is(kComposeOneBeyondTheEnd)) out[3 * n * h * w] = 0;
    return kOk;
}
