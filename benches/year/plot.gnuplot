# Draws year.csv: gnuplot -e "source='year.csv'; target='year.png'" plot.gnuplot
set terminal pngcairo size 1000,1100 font "sans,11"
set output target
set datafile separator comma
set key autotitle columnhead top left
set multiplot layout 4,1 title "A year of 50 series every 30 s: 52 million readings, kept for 90 days and in 80 MB"
set grid
set xrange [0:*]
set yrange [0:*]
set lmargin 9
set rmargin 9
set ylabel "memory, MB"
plot source using 1:3 with lines lw 2 title "resident", source using 1:2 with lines lw 2 title "anonymous"
set ylabel "file, MB"
set y2label "readings, millions"
set y2range [0:20]
set y2tics
set ytics nomirror
plot source using 1:4 with lines lw 2 title "database", source using 1:5 with lines lw 1 title "write-ahead log", \
    source using 1:($11 / 1e6) axes x1y2 with lines lw 1 title "readings kept (right)"
unset y2tics
unset y2label
set ytics mirror
set ylabel "written a day, MB"
plot source using 1:6 with lines lw 2 title "by the process"
set ylabel "ms"
set xlabel "day"
plot source using 1:8 with lines lw 1 title "commit of 1,000 readings, p99", source using 1:7 with lines lw 2 title "the same, p50", source using 1:10 with lines lw 1 title "statistics of one series over 30 days"
unset multiplot
