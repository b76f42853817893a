# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The rival written down plainly: the same rules and results, row after row of float64, NaN for missing."""

from libc.math cimport floor, isnan, NAN, INFINITY
from libc.stdint cimport uint8_t


def run(
    const double[:, ::1] values, const double[::1] low, const double[::1] high, const double[::1] register,
    const uint8_t[::1] tariff, double[:, ::1] filled, uint8_t[:, ::1] flags, double[:, ::1] hour_sum,
    double[:, ::1] hour_min, double[:, ::1] hour_max, double[:, ::1] hour_count, double[::1] day_sum,
    double[::1] day_min, double[::1] day_max, double[::1] day_argmax, double[::1] day_count, double[:, ::1] tariff_sum,
    int zero_run, double permille, int longest, double sum_permille, double sum_counts,
):
    cdef Py_ssize_t rows = values.shape[0], slots = values.shape[1], per_hour = slots // hour_sum.shape[1]
    cdef Py_ssize_t row, slot, hour, first, gap, step, best
    cdef double v, top, second, third, before, rise, total, least, most, count, whole, day_total, day_counted, day_most
    cdef double[4] tariffs
    with nogil:
        for row in range(rows):
            top = second = third = -INFINITY
            first = gap = 0
            for slot in range(slots):
                v = values[row, slot]
                flags[row, slot] = 0
                if isnan(v):
                    flags[row, slot] = 16
                    v = NAN
                elif v < low[row] or v > high[row]:
                    flags[row, slot] = 1
                    v = NAN
                elif v > third:
                    if v > top:
                        third = second
                        second = top
                        top = v
                    elif v > second:
                        third = second
                        second = v
                    else:
                        third = v
                filled[row, slot] = v
                if v != 0:
                    if slot - first >= zero_run:
                        for step in range(first, slot):
                            flags[row, step] |= 4
                    first = slot + 1
            if slots - first >= zero_run:
                for step in range(first, slots):
                    flags[row, step] |= 4
            if third > 0 and (top - third) * 1000 > permille * third:
                for slot in range(slots):
                    if (filled[row, slot] - third) * 1000 > permille * third:
                        flags[row, slot] |= 2
            for slot in range(slots):
                if isnan(filled[row, slot]):
                    gap += 1
                    continue
                if gap and gap < slot and gap <= longest:
                    before = filled[row, slot - gap - 1]
                    rise = filled[row, slot] - before
                    for step in range(1, gap + 1):
                        filled[row, slot - gap - 1 + step] = before + floor(
                            (2 * rise * step + gap + 1) / (2 * (gap + 1))
                        )
                        flags[row, slot - gap - 1 + step] |= 32
                gap = 0
            day_total = day_counted = 0
            day_most = -INFINITY
            best = -1
            tariffs[0] = tariffs[1] = tariffs[2] = tariffs[3] = 0
            whole = INFINITY
            for hour in range(hour_sum.shape[1]):
                total = count = 0
                least = INFINITY
                most = -INFINITY
                for slot in range(hour * per_hour, (hour + 1) * per_hour):
                    v = filled[row, slot]
                    if isnan(v):
                        continue
                    total += v
                    count += 1
                    if v < least:
                        least = v
                    if v > most:
                        most = v
                    if v > day_most:
                        day_most = v
                        best = slot
                    tariffs[tariff[slot]] += v
                hour_sum[row, hour] = total
                hour_count[row, hour] = count
                hour_min[row, hour] = least if count else 0
                hour_max[row, hour] = most if count else 0
                whole = min(whole, least)
                day_total += total
                day_counted += count
            day_sum[row] = day_total
            day_count[row] = day_counted
            day_min[row] = whole if best >= 0 else 0
            day_max[row] = day_most if best >= 0 else 0
            day_argmax[row] = best
            for hour in range(4):
                tariff_sum[row, hour] = tariffs[hour]
            if not isnan(register[row]) and day_counted == slots:
                if abs(day_total - register[row]) > sum_counts + floor(abs(register[row]) * sum_permille / 1000):
                    for slot in range(slots):
                        flags[row, slot] |= 8
