// Matrix products of panels. A panel holds kLanes rows or columns of a matrix side by side: element (k, lane) lies at
// k * kLanes + lane, so that one step of a product is one vector of B and kLanes single numbers of A.
namespace eamfmeg {
namespace EAMFMEG_ISA {

// Where a tile of a product goes: row r of panel p at `at + r * row_step + p * panel_step`.
struct Target {
    float* at;
    std::int64_t row_step, panel_step;
};

// Rows x Panels registers of sums over `count` steps; `lanes` of the last panel exist in the target, and `rows` rows. What
// is there already is added last: so the sum of many chunks is one of few large numbers, which rounds less than a long one.
template <int Rows, int Panels>
inline void tile(const float* a, const float* b, std::int64_t b_step, std::int64_t count, Target out, int rows, int lanes,
                 bool add) {
    Vf sums[Rows][Panels];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int p = 0; p < Panels; ++p) sums[r][p] = set(0.0f);
    }
    for (std::int64_t k = 0; k < count; ++k) {
        Vf row[Panels];
#pragma GCC unroll 4
        for (int p = 0; p < Panels; ++p) row[p] = load(b + p * b_step + k * Vf::kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
            const Vf factor = set(a[k * Vf::kLanes + r]);
#pragma GCC unroll 4
            for (int p = 0; p < Panels; ++p) sums[r][p] = fma(factor, row[p], sums[r][p]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
        if (r >= rows) break;
#pragma GCC unroll 4
        for (int p = 0; p < Panels; ++p) {
            float* at = out.at + r * out.row_step + p * out.panel_step;
            if (p + 1 < Panels) {
                store(at, add ? load(at) + sums[r][p] : sums[r][p]);
            } else {
                store(at, add ? load(at, lanes) + sums[r][p] : sums[r][p], lanes);
            }
        }
    }
}

// out (+)= A B: A has `rows` rows in one panel, B `columns` columns in panels `b_step` apart.
inline void product(const float* a, const float* b, std::int64_t b_step, std::int64_t count, Target out, std::int64_t rows,
                    std::int64_t columns, bool add) {
    constexpr int kRows = Vf::kLanes / 2;
    for (std::int64_t c = 0, p = 0; c < columns;) {
        const bool pair = columns - c > Vf::kLanes;
        const std::int64_t width = pair ? 2 * Vf::kLanes : Vf::kLanes;
        const int lanes = static_cast<int>(std::min<std::int64_t>(columns - c - (pair ? Vf::kLanes : 0), Vf::kLanes));
        for (int r = 0; r < rows; r += kRows) {
            const Target at{out.at + r * out.row_step + p * out.panel_step, out.row_step, out.panel_step};
            const int exist = static_cast<int>(std::min<std::int64_t>(rows - r, kRows));
            if (pair) {
                tile<kRows, 2>(a + r, b + p * b_step, b_step, count, at, exist, lanes, add);
            } else {
                tile<kRows, 1>(a + r, b + p * b_step, b_step, count, at, exist, lanes, add);
            }
        }
        c += width;
        p += pair ? 2 : 1;
    }
}

}  // namespace EAMFMEG_ISA
}  // namespace eamfmeg
